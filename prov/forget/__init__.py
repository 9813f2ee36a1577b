"""Permanent deletion of content from a store, its caches and its remotes."""
