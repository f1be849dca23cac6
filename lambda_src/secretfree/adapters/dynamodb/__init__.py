"""The registry and the ledger in DynamoDB."""
