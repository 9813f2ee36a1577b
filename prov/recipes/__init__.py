"""Recipes: projects, classes, variables, and the graph of tasks that they describe."""
