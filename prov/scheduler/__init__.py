"""Builds: the plan, the run of its tasks, and the deployment of what they produce."""
