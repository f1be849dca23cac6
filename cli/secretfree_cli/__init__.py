"""The operator command line, the device simulator and the local cloud."""
