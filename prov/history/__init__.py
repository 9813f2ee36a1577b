"""Questions about what was recorded. Read-only, and they cost what they read."""
