"""Queue mode, as an operator sees it."""
