"""Claims: builds on several machines run each task once."""
