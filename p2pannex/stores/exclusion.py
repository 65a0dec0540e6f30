"""One change at a time to a key's content, among all tasks, threads and processes that serve a directory.

Storing, locking and removing each take the key's lock file for the few system calls that decide, never while bytes
move. There are 256 lock files, by the first byte of the key's hash, made once and never removed: so nothing is left
to clean up, nothing grows with the number of keys, and all keys below one first-level object directory share a lock,
which is what makes it safe to remove directories that have become empty.

The locks are flock(2) locks. They belong to the open file, not to the process, so that tasks of one process exclude
each other as well, and the kernel gives them back whatever becomes of the process.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from p2pannex.keys import Key
from p2pannex.protocol.errors import RemoteError

TIMEOUT = 30.0
"""Seconds to wait for others, whose work on a key takes milliseconds."""


SET_LOCK: int | None = getattr(fcntl, "F_OFD_SETLK", None)
"""The lock that belongs to an open file and that fcntl(2) locks of processes exclude; None where there is none."""

_FLOCK = struct.Struct("@hhqqi4x")
"""What fcntl takes: the type, where counting begins, the start, the length (0: all of it), a process (0)."""


class Busy(RemoteError):
    """Others are at work on the key, or have the lock."""

    def __init__(self) -> None:
        super().__init__("the repository is busy; try again later")


@contextmanager
def sole_writer(path: bytes) -> Iterator[None]:
    """Nobody else who asks for the same changes the small file at `path` meanwhile: read it, and write it anew, inside.

    The lock is on a file beside it, PATH.lock, because the file itself is replaced. It blocks for as long as the others
    write, which is an fsync each. OSError where there can be no such file.
    """
    lock = os.open(path + b".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


class Exclusion:
    """The lock files in `directory`. Waiting for one blocks: do it in a worker thread."""

    def __init__(self, directory: bytes) -> None:
        self._directory = directory

    def prepare(self) -> None:
        """Make the lock files, so that no request has to. Those that are missing later are made when needed."""
        for number in range(256):
            os.close(os.open(os.path.join(self._directory, b"%02x" % number), os.O_CREAT | os.O_CLOEXEC, 0o666))

    @contextmanager
    def hold(self, key: Key, timeout: float = TIMEOUT) -> Iterator[None]:
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


def wait_until(locked: Callable[[], bool], timeout: float) -> None:
    """Try to lock until it works; Busy where it does not for `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = 0.0005
    while not locked():
        if time.monotonic() >= deadline:
            raise Busy
        time.sleep(pause)
        pause = min(2 * pause, 0.02)


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Take the file's lock if nobody has it."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def try_range(fd: int, kind: int, start: int = 0, length: int = 0) -> bool:
    """Take a lock of the `kind` F_RDLCK or F_WRLCK, or change the one held to it, if nobody else's is in the way."""
    assert SET_LOCK is not None
    try:
        fcntl.fcntl(fd, SET_LOCK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
    except (BlockingIOError, PermissionError):  # POSIX allows both errors for "others hold it"
        return False
    return True
