"""SecretFree runtime: rules, AWS adapters and Lambda handlers."""
