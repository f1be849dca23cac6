"""`secretfree demo`: the whole path of a device on one machine, step by step."""
