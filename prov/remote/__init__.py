"""Sharing through remotes: publications, trust, transfer; what comes in is checked before it
touches the store.
"""
