"""Conforme audits recorded sales calls."""
