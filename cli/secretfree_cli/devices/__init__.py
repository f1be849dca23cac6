"""The commands on devices that are enrolled."""
