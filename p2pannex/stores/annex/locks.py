"""Locks on files that git-annex locks too, which it does with fcntl(2).

Locks of that kind usually belong to the process: two tasks of one would not exclude each other, and the closing of
any descriptor of the file would drop them all. Linux has them in a second form, which belongs to the open file
(F_OFD_SETLK); both forms exclude each other. So every lock here is an open file of its own, and no table in the
process has to stand in front of them.

A lock file may be removed by whoever holds it exclusively. So after locking one has to look whether the file is still
the one at its path.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from p2pannex.errors import RemoteError
from p2pannex.git_annex.layout import AnnexLayout
from p2pannex.keys.key import Key
from p2pannex.system.file_locks import LOCK_TIMEOUT, SET_LOCK, is_at, try_range, wait_until


def require_file_locks() -> None:
    """RemoteError on a system that does not have these locks."""
    if SET_LOCK is None:
        raise RemoteError("this system has no locks that belong to open files, which git-annex repositories need")


class LockFile:
    """A locked lock file. Made by `take`."""

    def __init__(self, fd: int, path: bytes) -> None:
        self._fd = fd
        self._path = path

    @classmethod
    def take(cls, path: bytes, layout: AnnexLayout, *, exclusive: bool) -> LockFile | None:
        """Lock the file, which is made if need be; None where somebody else has it locked."""
        while True:
            created = False
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
                created = True
            lock = cls(fd, path)
            try:
                if not try_range(fd, fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK):
                    lock.close()
                    return None
                if is_at(os.fstat(fd), path):
                    if created:
                        layout.sharing.file(path)
                    return lock
            except BaseException:
                lock.close()
                raise
            lock.close()  # it was removed between the opening and the locking

    def upgrade(self) -> bool:
        """Make a shared lock exclusive, if nobody else has one."""
        return try_range(self._fd, fcntl.F_WRLCK)

    def remove(self) -> None:
        """Remove the file, which is locked exclusively, and let go of it."""
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the file, which stays."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class TransferClaim:
    """The right to receive a key's content: git-annex takes the same lock before it does."""

    def __init__(self, lock: LockFile) -> None:
        self._lock: LockFile | None = lock

    def release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.remove()


class KeyExclusion:
    """One change at a time to a key's content, among all that p2pannex runs on the repository.

    It is one file, of which a byte is locked for the first of the directories that the key's object is in: so nothing
    has to be cleaned up, and directories can be changed and fsynced, too. As in `Exclusion`, waiting blocks.
    """

    def __init__(self, layout: AnnexLayout) -> None:
        self._layout = layout
        self._path = os.path.join(layout.own, b"exclusion")

    @contextmanager
    def hold(self, key: Key, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
        """Nobody else of us changes the content of `key`, or what promises are recorded for it, meanwhile.

        Busy where others do for longer than `timeout` seconds.
        """
        byte = int.from_bytes(self._layout.neighbourhood(key), "big")
        fd = self._open()
        try:
            if not try_range(fd, fcntl.F_WRLCK, byte, 1):
                wait_until(lambda: try_range(fd, fcntl.F_WRLCK, byte, 1), timeout)
            yield
        finally:
            os.close(fd)

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            self._layout.make_directories(self._layout.own)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._layout.sharing.file(self._path)
            return fd
