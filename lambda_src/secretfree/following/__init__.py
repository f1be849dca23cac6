"""Repeats in this Region what another one issued or took out of use: see `secretfree.following.following`."""
