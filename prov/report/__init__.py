"""The report of a build: an HTML page, and a drawing of the graph."""
