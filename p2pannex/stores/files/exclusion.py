"""One change at a time to a key's content, among all tasks, threads and processes that serve a directory.

Storing, locking and removing each take the key's lock file for the few system calls that decide, never while bytes
move. There are 256 lock files, by the first byte of the key's hash, made once and never removed: so nothing is left
to clean up, nothing grows with the number of keys, and all keys below one first-level object directory share a lock,
which is what makes it safe to remove directories that have become empty.

The locks are flock(2) locks. They belong to the open file, not to the process, so that tasks of one process exclude
each other as well, and the kernel gives them back whatever becomes of the process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from p2pannex.keys.key import Key
from p2pannex.system.file_locks import LOCK_TIMEOUT, try_lock, wait_until


class Exclusion:
    """The lock files in `directory`. Waiting for one blocks: do it in a worker thread."""

    def __init__(self, directory: bytes) -> None:
        self._directory = directory

    def prepare(self) -> None:
        """Make the lock files, so that no request has to. Those that are missing later are made when needed."""
        for number in range(256):
            os.close(os.open(os.path.join(self._directory, b"%02x" % number), os.O_CREAT | os.O_CLOEXEC, 0o666))

    @contextmanager
    def hold(self, key: Key, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
        """Nobody else changes the content of `key`, or what promises are recorded for it, meanwhile.

        Busy where others do for longer than `timeout` seconds.
        """
        path = os.path.join(self._directory, key.hashdir_lower[:2])
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if not try_lock(fd):
                wait_until(lambda: try_lock(fd), timeout)
            yield
        finally:
            os.close(fd)
