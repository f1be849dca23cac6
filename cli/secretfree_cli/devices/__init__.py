"""The commands for enrolled devices."""
