"""The operator's side of enrolment: imports manifests into the registry, and maintains its batches."""
