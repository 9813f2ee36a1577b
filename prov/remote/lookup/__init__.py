"""The lookup table of a remote: which publications may name an id."""
