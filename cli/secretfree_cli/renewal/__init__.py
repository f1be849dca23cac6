"""Asking devices to renew their certificates now: which devices, at which rate, by AWS IoT Jobs."""
