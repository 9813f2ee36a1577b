"""Check and repair stores."""
