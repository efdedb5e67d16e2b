"""Audit configurations and their immutable revisions."""
