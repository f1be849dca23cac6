"""Who signs a device's certificate, and when."""
