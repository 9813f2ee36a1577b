"""Recorded tasks run again: in a scratch directory, from two builds, or to compare outputs."""
