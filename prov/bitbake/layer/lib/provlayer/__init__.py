"""Code that runs in BitBake's own processes. It uses only Python's standard library and BitBake."""
