"""Directories and trees: a directory becomes a tree, a tree becomes a directory, nothing is lost on
the way.
"""
