"""Statements about runs: attestations."""
