"""The report of a build: its page and the drawing of its graph."""
