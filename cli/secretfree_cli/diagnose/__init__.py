"""`secretfree diagnose`: why a device has no certificate, or cannot connect with it.

Collectors read AWS and return typed evidence, pure rules derive findings from it, and the command shows the first.
"""
