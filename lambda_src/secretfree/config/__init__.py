"""The configuration of each function, parsed once from the environment variables that the construct sets."""
