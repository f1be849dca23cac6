"""Revokes certificates and ends the connection when the registry withdraws a device or its key."""
