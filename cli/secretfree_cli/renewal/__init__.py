"""Asks devices to renew their certificates now, by AWS IoT Jobs at a limited rate."""
