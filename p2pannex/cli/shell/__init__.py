"""``p2pannex-shell``, a drop-in replacement for git-annex-shell."""
