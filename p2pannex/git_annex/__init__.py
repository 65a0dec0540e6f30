"""A git-annex repository on disk: its configuration, the layout of its files, its branch, and the branch's logs."""
