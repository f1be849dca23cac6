"""What waits: the queue of tickets of each issuer, and the dead letters."""
