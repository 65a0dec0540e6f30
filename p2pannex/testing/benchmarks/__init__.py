"""``p2pannex bench``: measures p2pannex and git-annex in the same run."""
