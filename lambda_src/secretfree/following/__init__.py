"""What another Region issued, or took out of use, becomes so in this Region: see `secretfree.following.following`."""
