"""What is recorded, and how: task runs, outputs, builds, and the names of their refs."""
