"""Validate objects from remotes before they enter the store."""
