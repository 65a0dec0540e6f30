"""``p2pannex bench``: measurements beside git-annex, in the same run."""
