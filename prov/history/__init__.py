"""Read-only questions about recorded tasks and builds. Each reads only the objects it needs."""
