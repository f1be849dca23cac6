"""Certificates and CAs that expire soon."""
