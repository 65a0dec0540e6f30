"""Locks on files: flock(2), and fcntl(2) locks that belong to an open file.

Both belong to the open file, not to the process, so tasks and threads of one process exclude each other as well, and
the kernel releases them when the process ends.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from p2pannex.errors import RemoteError

LOCK_TIMEOUT = 30.0
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


def is_at(status: os.stat_result, path: bytes) -> bool:
    """Whether the open file of this status is still the one at `path`."""
    try:
        return os.path.samestat(status, os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
