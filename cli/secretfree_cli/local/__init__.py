"""The local cloud: AWS's emulators on loopback, started, filled with the real stack, and stopped."""
