"""Software bills of materials, from what builds recorded."""
