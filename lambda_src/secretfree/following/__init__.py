"""Repeats the issuances and revocations of other Regions in this one: see `secretfree.following.following`."""
