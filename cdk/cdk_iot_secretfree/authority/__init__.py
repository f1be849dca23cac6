"""The Private CA that signs device certificates."""
