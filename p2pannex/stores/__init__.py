"""Services that store content: in memory, in a directory, in a git-annex repository, or in a special remote."""
