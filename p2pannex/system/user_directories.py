"""The user's directory for the settings of p2pannex, as the XDG Base Directory Specification defines it."""

from __future__ import annotations

import os


def config_directory() -> str:
    """``$XDG_CONFIG_HOME/p2pannex``, by default in ``~/.config``. It need not exist."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):  # the specification says to ignore it then
        base = os.path.expanduser("~/.config")
    return os.path.join(base, "p2pannex")
