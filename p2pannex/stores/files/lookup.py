"""Finding the object of a key: where it is, and whether it has the right size."""

from __future__ import annotations

import errno
import os
import stat

from p2pannex.keys.key import Key
from p2pannex.stores.files.interfaces import Layout
from p2pannex.system.disk_errors import explained

NAME_MAX = 255
"""Bytes of the longest file name. Content of longer keys cannot be stored."""


def is_whole(key: Key, status: os.stat_result) -> bool:
    """Whether this is the status of a regular file of the key's size."""
    size = key.size
    return stat.S_ISREG(status.st_mode) and (size is None or size == status.st_size)


def find(layout: Layout, key: Key, *, doing: str) -> tuple[bytes, os.stat_result] | None:
    """The path and the status of the file at the key's object, or None if there is none.

    RemoteError if that cannot be found out; `doing` says for what it is needed (``cannot ...``).
    """
    for path in layout.places(key):
        try:
            return path, os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if len(key.file_name) > NAME_MAX:
                return None
            raise explained(error, doing) from error
    return None


def look(layout: Layout, key: Key) -> os.stat_result | None:
    """The status of the object, or None if there is none of the key's size."""
    found = find(layout, key, doing="cannot look for the content")
    return found[1] if found is not None and is_whole(key, found[1]) else None


def open_object(layout: Layout, key: Key) -> int | None:
    """Open the key's object for reading. None if there is none, or if it is a symbolic link. OSError otherwise."""
    for path in layout.places(key):
        try:
            # O_NONBLOCK: opening what is not a regular file, such as a FIFO, must not block.
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if error.errno == errno.ELOOP or len(key.file_name) > NAME_MAX:
                break  # it is a symbolic link, which is not an object; or no file can have that name
            raise
    return None
