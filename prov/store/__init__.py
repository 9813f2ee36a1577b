"""Git objects, packs and refs. Only this package knows the layout of a repository."""
