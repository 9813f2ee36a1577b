"""Git: objects, packs, refs. The only floor that knows how a repository is laid out."""
