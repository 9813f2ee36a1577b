"""Recorded builds and runs as tables of an SQLite file, which prov can make again at any time."""
