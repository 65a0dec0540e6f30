"""A key's exclusion: a lock that allows one change at a time to the key's content, in one store.

It works among all tasks, threads and processes that serve the directory. Storing, locking and removing content each
hold it for the few system calls that decide, never while content is transferred.

There are 256 lock files. The first byte of the key's hash selects one. They are made once and never removed. So nothing
has to be cleaned up, and nothing grows with the number of keys. All keys below one first-level directory of objects
share a lock file; that makes it safe to remove directories that have become empty.

The locks are flock(2) locks. They belong to the open file, not to the process. So tasks of one process exclude each
other as well, and the kernel releases the locks when the process ends, however it ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from p2pannex.keys.key import Key
from p2pannex.system.file_locks import LOCK_TIMEOUT, close_lock, try_lock, wait_until
from p2pannex.system.writers_only import limit_to_writers


class Exclusion:
    """The lock files in `directory`. Waiting for a lock blocks: call `hold` in a worker thread."""

    def __init__(self, directory: bytes) -> None:
        self._directory = directory

    def prepare(self) -> None:
        """Make all lock files, so that no request has to. If one is missing later, `hold` makes it.

        Only those who may write to the directory can lock them: it is closed to all others.
        """
        limit_to_writers(self._directory)
        for number in range(256):
            os.close(os.open(os.path.join(self._directory, b"%02x" % number), os.O_CREAT | os.O_CLOEXEC, 0o666))
        self.require_locks()

    def require_locks(self) -> None:
        """NoFileLocks if the file system has none: then the store cannot be used."""
        fd = os.open(os.path.join(self._directory, b"00"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try_lock(fd)
        finally:
            os.close(fd)

    @contextmanager
    def hold(self, key: Key, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
        """Hold the key's exclusion in the block: no other task or process changes its content or retention records.

        Busy if others hold it for longer than `timeout` seconds.
        """
        path = os.path.join(self._directory, key.hashdir_lower[:2])
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if not try_lock(fd):
                wait_until(lambda: try_lock(fd), timeout, fd)
            yield
        finally:
            close_lock(fd)
