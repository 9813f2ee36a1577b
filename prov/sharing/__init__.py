"""Recorded results and remotes: which results are shared, and which fetched outputs are used."""
