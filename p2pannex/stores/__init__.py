"""Services that keep content: in memory, in a directory, in a git-annex repository, in a special remote."""
