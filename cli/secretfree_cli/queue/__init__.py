"""What waits: the line of each issuer, and the dead letters."""
