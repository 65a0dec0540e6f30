"""The record of one lock, as the process that serves the client has it. `retention.py` describes the files."""

from __future__ import annotations

import os
from contextlib import suppress

from p2pannex.system.file_locks import KERNEL_LOCKS, Locks

RELEASED = b"released\n"
"""The first bytes of a record that does not count, although its file could not be removed."""


class Record:
    """The record of one lock, which a client of this process holds. Made by `Retention.record`."""

    def __init__(self, path: bytes, fd: int, locks: Locks = KERNEL_LOCKS) -> None:
        self._path = path
        self._fd = fd
        self._locks = locks

    def release(self) -> None:
        """Remove the record: the client has unlocked the content, or the lock was not given."""
        if self._fd >= 0:
            try:
                remove_record(self._path, self._fd)
            finally:
                self.abandon()

    def abandon(self) -> None:
        """Unlock the record's file and leave it until it expires: the client is lost."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._locks.close(fd)


def remove_record(path: bytes, fd: int) -> None:
    """Remove the record, which is open as `fd`, and its directory if it was the last. OSError if it still counts."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError:
        os.pwrite(fd, RELEASED, 0)
        return
    with suppress(OSError):
        os.rmdir(os.path.dirname(path))  # it stays if it has other records
