"""The operator's side of enrolment: manifests into the registry, and everything that looks after what is there."""
