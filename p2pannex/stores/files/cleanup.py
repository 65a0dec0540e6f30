"""Empty directories that removals leave behind. To remove them takes longer than to remove the content."""

from __future__ import annotations

import os
from contextlib import suppress

from p2pannex.keys.key import Key
from p2pannex.stores.files.interfaces import Exclusive
from p2pannex.system.file_locks import Busy

MANY = 16
"""Removals after which the directories that they have emptied are removed, all of them together."""


class PendingCleanup:
    """Directories below `root` that removals may have emptied, and that are removed later.

    An empty one is removed, and then those above it that are empty, with the exclusion of the key that was in it.
    """

    def __init__(self, root: bytes, exclusion: Exclusive) -> None:
        self._root = root
        self._exclusion = exclusion
        self._left: list[tuple[Key, bytes]] = []

    @property
    def is_full(self) -> bool:
        """Whether it is time to tidy up."""
        return len(self._left) >= MANY

    def add(self, key: Key, directory: bytes) -> None:
        """The content of the key, in this directory, is about to be removed."""
        self._left.append((key, directory))

    def tidy(self) -> None:
        """Remove the directories that are empty. It blocks."""
        while self._left:
            key, path = self._left.pop()
            try:
                with self._exclusion.hold(key):
                    while path != self._root:
                        with suppress(FileNotFoundError):
                            os.rmdir(path)
                        path = os.path.dirname(path)
            except (OSError, Busy):
                continue  # the directory is in use again, or another process is at work there: it may stay
