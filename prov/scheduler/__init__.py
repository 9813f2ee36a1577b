"""Builds: planning, running tasks and deploying their outputs."""
