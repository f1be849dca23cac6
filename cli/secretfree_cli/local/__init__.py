"""The local cloud: starts and stops emulators of AWS on loopback, and deploys the real stack into them."""
