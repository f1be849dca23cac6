"""Enrolment: which rows may enter the registry, and how they are written.

The CLI and the import in the cloud share it.
"""
