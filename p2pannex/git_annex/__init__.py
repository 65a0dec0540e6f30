"""What a git-annex repository is on disk: its configuration, its layout, its branch and the logs in that."""
