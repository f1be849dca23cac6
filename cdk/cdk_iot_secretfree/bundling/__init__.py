"""The Lambda asset: the runtime and its locked dependencies."""
