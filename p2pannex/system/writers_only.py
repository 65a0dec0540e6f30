"""Files and directories that only those may open who may also change them.

A lock of flock(2) or fcntl(2) needs no more than permission to read. So a lock file that others can read lets them stop
a store, by locking it. So directories with lock files, and lock files elsewhere, are closed to all who may not write to
them.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from p2pannex.system.unsupported import chmod


def writers_mode(mode: int) -> int:
    """The mode without the permissions of those, group or others, who may not write."""
    kept = 0o7700 | (0o070 if mode & stat.S_IWGRP else 0) | (0o007 if mode & stat.S_IWOTH else 0)
    return mode & kept


def limit_to_writers(path: bytes) -> None:
    """Take the permissions away from those who may not write. Nothing if it is missing, or belongs to another user."""
    with suppress(FileNotFoundError, PermissionError):
        mode = stat.S_IMODE(os.stat(path, follow_symlinks=False).st_mode)
        if mode != writers_mode(mode):
            chmod(path, writers_mode(mode))


__all__ = ["limit_to_writers", "writers_mode"]
