"""The two programs, ``p2pannex`` and ``p2pannex-shell``."""
