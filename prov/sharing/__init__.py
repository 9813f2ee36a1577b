"""Choose which recorded results to share and which fetched outputs to use."""
