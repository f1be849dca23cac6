"""The audit trail: which changes of the two tables are kept as evidence, and which fields of each."""
