"""Locks on files that git-annex locks too, with fcntl(2).

The usual fcntl locks belong to the process: two tasks of one process would not exclude each other, and closing any
descriptor of the file would drop them all. Linux also has fcntl locks that belong to the open file (F_OFD_SETLK). Both
kinds exclude each other. So each lock here is an open file of its own, and the process needs no table of its locks.

A process that holds a lock file exclusively may remove it. So after locking a file, one has to check that it is still
the file at its path.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from p2pannex.errors import RemoteError
from p2pannex.git_annex.config import AnnexConfig
from p2pannex.git_annex.layout import AnnexLayout
from p2pannex.keys.key import Key
from p2pannex.system.file_locks import (
    LOCK_TIMEOUT,
    SET_LOCK,
    Locks,
    close_lock,
    is_at,
    try_range,
    unlink_own,
    wait_until,
)


def require_file_locks(config: AnnexConfig) -> None:
    """RemoteError on a system without locks that belong to the open file, or a file system without locks."""
    if SET_LOCK is None:
        raise RemoteError("git-annex repositories need locks that belong to open files; use a system with them: Linux")
    if config.pid_lock:
        return
    with suppress(OSError):
        fd = os.open(os.path.join(config.git_dir, b"config"), os.O_RDONLY | os.O_CLOEXEC)
        try:
            try_range(fd, fcntl.F_RDLCK)  # shared: it keeps no one from anything
        finally:
            os.close(fd)


class LockFile:
    """A locked lock file. Made by `take`."""

    def __init__(self, fd: int, path: bytes, locks: Locks) -> None:
        self._fd = fd
        self._path = path
        self._locks = locks

    @classmethod
    def take(cls, path: bytes, layout: AnnexLayout, *, exclusive: bool) -> LockFile | None:
        """Lock the file, which is made if it is missing. None if another lock conflicts. It does not wait."""
        while True:
            created = False
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
                created = True
            lock = cls(fd, path, layout.locks)
            try:
                if not layout.locks.try_range(fd, fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK):
                    lock.close()
                    return None
                if is_at(os.fstat(fd), path):
                    if created:
                        layout.sharing.file(path)
                    return lock
            except BaseException:
                lock.close()
                raise
            lock.close()  # another process removed the file between opening and locking: try again

    def upgrade(self) -> bool:
        """Make a shared lock exclusive. False if there is another lock on the file, or it is not at its path any more:
        then others may have locked the file that is there now."""
        return self._locks.try_range(self._fd, fcntl.F_WRLCK) and is_at(os.fstat(self._fd), self._path)

    def remove(self) -> None:
        """Remove the file and release the lock, which is exclusive."""
        try:
            unlink_own(self._fd, self._path)
        except FileNotFoundError:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Release the lock. The file stays."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._locks.close(fd)


class TransferClaim:
    """The right to receive a key's content. git-annex takes the same lock before it receives content."""

    exclusive = True

    def __init__(self, lock: LockFile) -> None:
        self._lock: LockFile | None = lock

    def release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            with suppress(OSError):  # a file that stays is harmless: `remove` has released the lock
                lock.remove()


class KeyExclusion:
    """The exclusion of keys in a git-annex repository: one change at a time to a key's content, by p2pannex only.

    All keys use the same lock file. The first hash directory of the key's object selects the byte that is locked. So
    nothing has to be cleaned up. Keys below the same directory share a byte, so directories can be made, removed and
    fsynced under the lock too. As in `Exclusion`, waiting blocks.
    """

    def __init__(self, layout: AnnexLayout) -> None:
        self._layout = layout
        self._path = os.path.join(layout.own, b"exclusion")

    @contextmanager
    def hold(self, key: Key, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
        """Hold the key's exclusion in the block: no other task or process of p2pannex changes its content or records.

        Busy if others hold it for longer than `timeout` seconds.
        """
        byte = int.from_bytes(self._layout.neighbourhood(key), "big")
        locks = self._layout.locks
        fd = self._open()
        try:
            if not locks.try_range(fd, fcntl.F_WRLCK, byte, 1):
                wait_until(lambda: locks.try_range(fd, fcntl.F_WRLCK, byte, 1), timeout, fd)
            yield
        finally:
            close_lock(fd, locks)

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            self._layout.make_directories(self._layout.own)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._layout.sharing.file(self._path)
            return fd
