"""Clusters that are described on disk: by a gateway directory, or by a git-annex gateway repository."""
