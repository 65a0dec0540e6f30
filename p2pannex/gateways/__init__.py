"""Clusters as they are described on disk: in a gateway directory, or in a git-annex gateway repository."""
