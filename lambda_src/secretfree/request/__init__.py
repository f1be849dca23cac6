"""The request: a device's CSR, its key and its id, read strictly from hostile bytes. No AWS."""
