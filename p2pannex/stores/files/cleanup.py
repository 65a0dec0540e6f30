"""What removals leave behind, and what takes longer than they do: empty directories, and the space of small files.

A file that is open while its name is removed is freed when it is closed. So one that is small is held open, by an
O_PATH descriptor, and freed with others afterwards. Where the process ends before that, the system closes it.
"""

from __future__ import annotations

import os
from contextlib import suppress

from p2pannex.keys.key import Key
from p2pannex.stores.files.interfaces import Exclusive
from p2pannex.system.file_locks import Busy

MANY = 16
"""Removals whose remains are left for later, all at once."""

SMALL = 1 << 20
"""Bytes of content up to which its space may be freed a little later."""


class PendingCleanup:
    """What is left below `root`. Each directory is removed if it is empty, and those above it, with the exclusion of
    the key that was in it. With `free_later` that is so of the space of small files, too: 16 MiB of it at most."""

    def __init__(self, root: bytes, exclusion: Exclusive, *, free_later: bool) -> None:
        self._root = root
        self._exclusion = exclusion
        self._free_later = free_later and hasattr(os, "O_PATH")
        self._left: list[tuple[Key, bytes, int]] = []

    @property
    def is_full(self) -> bool:
        """Whether it is time to tidy up."""
        return len(self._left) >= MANY

    def add(self, key: Key, path: bytes) -> None:
        """The file of the key's content at `path` is about to be removed."""
        fd = -1
        if self._free_later and key.size is not None and key.size <= SMALL:
            with suppress(OSError):  # it is as well without
                fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._left.append((key, os.path.dirname(path), fd))

    def tidy(self) -> None:
        """Free the space, and remove what is empty. It blocks."""
        while self._left:
            key, path, fd = self._left.pop()
            if fd >= 0:
                os.close(fd)
            try:
                with self._exclusion.hold(key):
                    while path != self._root:
                        with suppress(FileNotFoundError):
                            os.rmdir(path)
                        path = os.path.dirname(path)
            except (OSError, Busy):
                continue  # not empty any more, or somebody else was here: nothing that matters to anybody
