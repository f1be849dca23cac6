"""Requests renewals of certificates from devices, by AWS IoT Jobs at a limited rate."""
