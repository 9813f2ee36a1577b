"""Claims of builds that share a remote."""
