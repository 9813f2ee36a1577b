"""The formats of recorded data: task runs, outputs, builds, and the names of their refs."""
