"""Sharing through remotes, by the commands that users have and the servers that there are."""
