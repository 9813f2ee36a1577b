"""Rerun recorded tasks in a scratch directory, combine two builds, or compare outputs."""
