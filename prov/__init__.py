"""Build provenance in git: every task's directory is a commit, every output a tree."""

__version__ = "0.1.0"
