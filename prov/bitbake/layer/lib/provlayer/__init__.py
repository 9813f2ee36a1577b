"""What runs inside BitBake's own processes: Python's standard library and BitBake, nothing else."""
