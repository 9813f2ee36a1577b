"""Recipes: projects, classes, variables and the task graph they describe."""

PROJECT_FILE = "prov.toml"
"""The name of the file that marks a project's folder."""
