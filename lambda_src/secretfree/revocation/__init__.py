"""What follows when the registry withdraws a device or its key: its certificates are revoked, its connection ends."""
