"""``p2pannex cluster``: a gateway directory and its nodes."""
