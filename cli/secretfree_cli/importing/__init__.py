"""Enrolment by the operator: imports manifests into the registry, and maintains its batches."""
