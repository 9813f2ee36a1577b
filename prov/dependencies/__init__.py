"""What recipes declare and what their tasks use: unused, floating and transitive dependencies."""
