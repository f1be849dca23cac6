"""Retires a device's older certificates when it connects with a new one."""
