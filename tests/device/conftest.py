"""What answers a device in these tests."""

from support.device_side import authority, broker, issued, service

__all__ = ["authority", "broker", "issued", "service"]
