"""A gateway directory: a cluster whose nodes a ``p2pannex.toml`` lists. No git is needed."""
