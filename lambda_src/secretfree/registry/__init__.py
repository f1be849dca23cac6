"""Enrolment: what may enter the registry, and how it is written there. The CLI and the import in the cloud share it."""
