"""Key material as people and tools write it: PEM, DER, JWK, certificates and requests, for the CLI and the cloud."""
