"""What follows when a device connects with a new certificate: the ones that it had before are retired."""
