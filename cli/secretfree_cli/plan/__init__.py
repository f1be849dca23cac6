"""`secretfree plan`: how long a fleet takes to provision, which quota limits it, and what it costs."""
