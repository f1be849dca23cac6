"""The emulators of the local cloud: AWS and AWS Private CA."""
