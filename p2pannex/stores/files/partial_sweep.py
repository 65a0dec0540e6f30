"""Removal of partials: content that has not arrived completely, and that no client has continued for long."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from p2pannex.system.clock import Clock
from p2pannex.system.directory_samples import some_names
from p2pannex.system.file_locks import NoFileLocks, try_lock, unlink_own

INTERVAL = 600.0
"""Seconds between two sweeps of a process that has clients all the time."""

LISTED = 1000
"""Partials from which one sweep chooses at random, so that none is left out for ever."""

SWEPT = 100
"""Partials that one sweep looks at."""


class PartialSweep:
    """The removal of the partials in `directory`, `age` seconds after the last byte was written to them."""

    def __init__(self, directory: bytes, age: float, clock: Clock) -> None:
        self._directory = directory
        self._age = age
        self._clock = clock
        self._next = clock.monotonic() + INTERVAL

    @property
    def due(self) -> bool:
        """Whether it is time for another sweep."""
        return self._clock.monotonic() >= self._next

    def sweep(self) -> int:
        """Remove some partials that are old, and that no upload has locked. How many. It blocks, and does not raise."""
        self._next = self._clock.monotonic() + INTERVAL
        oldest = self._clock.wall() - self._age
        removed = 0
        try:
            names = some_names(self._directory, LISTED, SWEPT)
        except OSError:
            return 0
        for name in names:
            path = os.path.join(self._directory, name)
            with suppress(OSError, NoFileLocks):  # what cannot be removed stays
                if os.lstat(path).st_mtime < oldest:
                    removed += remove_unlocked(path)
        return removed


def remove_unlocked(path: bytes) -> bool:
    """Remove a partial unless an upload has it locked. Whether it was removed.

    An upload that locks its file afterwards notices that it is not at its path any more.
    """
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return False
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return try_lock(fd) and unlink_own(fd, path)
    finally:
        os.close(fd)
