"""Capture directories as git trees, and check trees out as directories, without loss."""
