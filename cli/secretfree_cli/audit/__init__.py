"""The audit trail: reading a device's events from the bucket with Object Lock."""
