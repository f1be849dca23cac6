"""`secretfree diagnose`: why a device has no certificate, or cannot connect with it.

Collectors read AWS into typed evidence, pure rules turn evidence into findings, and the command shows the first one.
"""
