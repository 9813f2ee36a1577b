"""Documentation pages, run as a user would paste them."""
