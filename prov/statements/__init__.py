"""Attestations: statements about runs."""
