"""The two programs. The modules here are the commands of ``p2pannex``; ``shell`` is the program ``p2pannex-shell``."""
