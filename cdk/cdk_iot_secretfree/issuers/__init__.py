"""The issuers that sign device certificates, and the modes in which they run."""
