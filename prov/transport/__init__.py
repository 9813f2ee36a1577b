"""Connect to remotes: addresses, git, and web servers."""
