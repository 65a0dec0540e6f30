"""Making directory entries survive a power failure."""

from __future__ import annotations

import os


def fsync_directory(path: bytes) -> None:
    """Make the names in the directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_up(path: bytes, root: bytes) -> None:
    """Make the names in `path`, and the directories from `root` down to it, durable.

    All of them each time: whoever made one may have been killed before it could. Clean ones cost microseconds.
    """
    fsync_directory(path)
    while path != root:
        path = os.path.dirname(path)
        fsync_directory(path)
