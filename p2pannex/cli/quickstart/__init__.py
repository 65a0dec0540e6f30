"""``p2pannex quickstart``: a demonstration of the main features, on this machine."""
