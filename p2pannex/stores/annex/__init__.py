"""The store in a git-annex repository."""
