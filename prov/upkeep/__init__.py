"""Upkeep of a store: retention rules, garbage collection, and work in the background."""
