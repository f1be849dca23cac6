"""What will end soon: certificates and CAs."""
