"""``p2pannex quickstart``: a tour of what the programs do, run on this machine."""
