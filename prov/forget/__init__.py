"""Removal of content from a store, its remotes and its caches for good."""
