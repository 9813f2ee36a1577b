"""Builds without recipes: record directories and commands as runs, and runs as builds."""
