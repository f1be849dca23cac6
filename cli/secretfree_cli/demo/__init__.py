"""`secretfree demo`: the whole life of a device on one machine, step by step."""
