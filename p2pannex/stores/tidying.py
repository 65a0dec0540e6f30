"""Removing the directories that removals have left empty. It takes longer than the removals: some at a time."""

from __future__ import annotations

import os
from contextlib import suppress

from p2pannex.keys import Key
from p2pannex.stores.exclusion import Busy
from p2pannex.stores.parts import Exclusive

MANY = 16
"""Directories that are left for later, all at once."""


class Untidy:
    """The directories below `root` that may be empty. Each is removed, and those above it, with the exclusion of the
    key that was in it."""

    def __init__(self, root: bytes, exclusion: Exclusive) -> None:
        self._root = root
        self._exclusion = exclusion
        self._left: list[tuple[Key, bytes]] = []

    @property
    def many(self) -> bool:
        """Whether it is time to tidy up."""
        return len(self._left) >= MANY

    def add(self, key: Key, directory: bytes) -> None:
        self._left.append((key, directory))

    def tidy(self) -> None:
        """Remove what is empty. It blocks."""
        while self._left:
            key, path = self._left.pop()
            try:
                with self._exclusion.hold(key):
                    while path != self._root:
                        with suppress(FileNotFoundError):
                            os.rmdir(path)
                        path = os.path.dirname(path)
            except (OSError, Busy):
                continue  # not empty any more, or somebody else was here: nothing that matters to anybody
