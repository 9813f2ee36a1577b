"""Recipes: projects, classes, variables and the task graph they describe."""
