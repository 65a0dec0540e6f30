"""Programs for those who work on p2pannex."""
