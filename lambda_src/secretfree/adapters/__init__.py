"""Ports of the rules, implemented on boto3."""
