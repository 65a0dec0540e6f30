"""The store in a git-annex repository, which git-annex may use at the same time."""
