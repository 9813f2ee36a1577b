"""Share results through remotes: publications, trust, and transfers.

Everything that a remote sends is checked before it enters the store.
"""
