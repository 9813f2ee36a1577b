"""Reaching remotes: addresses, git, and web servers."""
