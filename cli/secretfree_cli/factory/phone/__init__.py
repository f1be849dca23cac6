"""A phone as the scanner: one page over TLS on the bench's network, and the session behind it."""
