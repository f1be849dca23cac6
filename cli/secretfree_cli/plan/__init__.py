"""`secretfree plan`: how long a fleet takes to provision, which quota holds it back, and what it costs."""
