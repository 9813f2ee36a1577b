"""Builds: recipes, task hashes, the graph, the plan, and running it."""
