"""Stores that keep content in files: the parts that a directory store and a git-annex repository share."""
