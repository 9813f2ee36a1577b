"""Upkeep of a store: retention rules, garbage collection, and background maintenance."""
