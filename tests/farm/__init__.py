"""Tests of the farm, with Dask, git and bubblewrap."""
