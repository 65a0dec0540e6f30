"""Removal of the empty directories that removals of content leave behind.

It is postponed and done for several at a time, because it takes longer than to remove the content.
"""

from __future__ import annotations

import os
from contextlib import suppress

from p2pannex.keys.key import Key
from p2pannex.stores.files.interfaces import Exclusive
from p2pannex.system.file_locks import Busy

MANY = 16
"""Removals of content after which their directories are removed."""


class PendingCleanup:
    """Directories below `root` that are to be removed later, if they are empty then, with their empty parents.

    Each is removed with the exclusion held of the key that was in it, so that no upload loses its directory.
    """

    def __init__(self, root: bytes, exclusion: Exclusive) -> None:
        self._root = root
        self._exclusion = exclusion
        self._left: list[tuple[Key, bytes]] = []

    @property
    def is_full(self) -> bool:
        """Whether the caller should call `tidy` now."""
        return len(self._left) >= MANY

    def add(self, key: Key, directory: bytes) -> None:
        """Add the directory of content that is about to be removed."""
        self._left.append((key, directory))

    def tidy(self) -> None:
        """Remove the directories, and their parents up to `root`, that are empty. It blocks."""
        while self._left:
            key, path = self._left.pop()
            try:
                with self._exclusion.hold(key):
                    while path != self._root:
                        with suppress(FileNotFoundError):
                            os.rmdir(path)
                        path = os.path.dirname(path)
            except (OSError, Busy):
                continue  # the directory is not empty, or another process holds the exclusion: it stays
