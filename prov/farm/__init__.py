"""Run tasks on other machines: orders, receipts, workers of a Dask cluster, transfers by git."""
