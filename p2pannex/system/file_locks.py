"""Locks on files: flock(2), and fcntl(2) locks that belong to an open file.

Both belong to the open file, not to the process, so tasks and threads of one process exclude each other as well, and
the kernel releases them when the process ends.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from p2pannex.errors import RemoteError
from p2pannex.system.unsupported import is_unsupported

LEFT = 60.0
"""Seconds after which a file that stands for a lock, where there are no file locks, was left by a killed process."""

LOCK_TIMEOUT = 30.0
"""Seconds to wait for a key's lock. Other tasks and processes hold it for milliseconds."""


SET_LOCK: int | None = getattr(fcntl, "F_OFD_SETLK", None)
"""The fcntl(2) command for locks that belong to an open file; None on a system without them.

These locks and fcntl locks that belong to a process exclude each other.
"""


_FLOCK = struct.Struct("@hhqqi4x")
"""``struct flock``: the type, where the start is counted from, the start, the length (0: to the end), a process (0)."""


class NoFileLocks(RemoteError):
    """The file system has no file locks, so processes could not be kept from removing what others need."""

    def __init__(self, error: OSError) -> None:
        super().__init__(
            f"the file system has no file locks ({error.strerror}), which p2pannex needs; use another file system, or "
            "in a git-annex repository, while no program uses it: git config annex.pidlock true"
        )


class Busy(RemoteError):
    """Other tasks or processes held the lock for too long. `fd` is the lock file, open: the text names its holder."""

    def __init__(self, fd: int | None = None) -> None:
        holder = None if fd is None else holder_of(fd)
        super().__init__(f"the repository is busy{f': {holder} has locked it' if holder else ''}; try again later")
        self.holder = holder


def holder_of(fd: int) -> str | None:
    """A process that has a lock on the open file, with its user; None if the kernel does not tell."""
    process = next(_locking(fd), None)
    return None if process is None else f"process {process}{_user_of(process)}"


def locked_by_another_user(fd: int) -> bool:
    """Whether the open file is locked by a process of another user, as far as the kernel tells."""
    process = next(_locking(fd), None)
    return process is not None and _user(process) not in (None, os.geteuid())


def locked_by_this_user(fd: int) -> bool:
    """Whether the open file is locked by this process or another one of its user, as far as the kernel tells."""
    return any(_user(process) == os.geteuid() for process in _locking(fd, own=True))


def _user(process: int) -> int | None:
    try:
        return os.stat(f"/proc/{process}").st_uid
    except OSError:
        return None


def _locking(fd: int, *, own: bool = False) -> Iterator[int]:
    """The numbers of the other processes that have a lock on the open file; with `own`, of this one too."""
    try:
        status = os.fstat(fd)
        file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        with open("/proc/locks") as locks:
            words = [line.split() for line in locks]
    except OSError:
        return
    for word in words:
        # NUMBER: KIND ADVISORY MODE PROCESS DEVICE:INODE START END; a lock that waits has -> before KIND.
        if len(word) == 8 and word[5] == file and int(word[4]) > 0 and (own or int(word[4]) != os.getpid()):
            yield int(word[4])


def _user_of(process: int) -> str:
    import pwd

    user = _user(process)
    try:
        return "" if user is None else f" of user {pwd.getpwuid(user).pw_name}"
    except KeyError:
        return ""


@contextmanager
def sole_writer(path: bytes, *, remove: bool = False) -> Iterator[None]:
    """Lock the small file at `path` against other callers of this function. The block may read and replace the file.

    The lock is on PATH.lock, because the file itself is replaced. With `remove`, PATH.lock is removed after the block,
    while it is still locked: a caller that has waited for it finds that it is gone, and makes a new one.

    Waiting blocks, for one fsync of each other caller. OSError if PATH.lock cannot be opened or made; Busy if others
    hold it for longer than `LOCK_TIMEOUT`.
    """
    try:
        lock = _lock_current(path + b".lock")
    except NoFileLocks:
        with _exclusive_file(path + b".locked"):
            yield
        return
    try:
        yield
    finally:
        if remove:
            with suppress(OSError):
                unlink_own(lock, path + b".lock")
        os.close(lock)


def _lock_current(path: bytes) -> int:
    """Open or make the file, and wait for its lock."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            wait_until(functools.partial(try_lock, fd), LOCK_TIMEOUT, fd)
            if is_at(os.fstat(fd), path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its last holder has removed it


@contextmanager
def _exclusive_file(path: bytes) -> Iterator[None]:
    """Without file locks: the process that makes the file has the lock.

    It sets the file's time anew during the block, so a file whose time is `LEFT` seconds ago was left by a killed
    process, and is removed. At the end the process removes only the file that it has made.
    """
    fd = -1

    def made() -> bool:
        nonlocal fd
        try:
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            with suppress(FileNotFoundError):
                if time.time() > os.stat(path).st_mtime + LEFT:
                    os.unlink(path)
        return fd >= 0

    def refresh() -> None:
        while not ended.wait(LEFT / 6):
            with suppress(OSError):
                os.utime(fd)

    wait_until(made, LOCK_TIMEOUT)
    ended = threading.Event()
    refreshing = threading.Thread(target=refresh, daemon=True)
    refreshing.start()
    try:
        yield
    finally:
        ended.set()
        refreshing.join()
        try:
            unlink_own(fd, path)
        finally:
            os.close(fd)


def wait_until(locked: Callable[[], bool], timeout: float, fd: int | None = None) -> None:
    """Call `locked` until it returns true. Busy if that takes longer than `timeout` seconds. It blocks.

    `fd` is the file that `locked` locks, so that the error can name who holds it.
    """
    deadline = time.monotonic() + timeout
    pause = 0.0005
    while not locked():
        if time.monotonic() >= deadline:
            raise Busy(fd)
        time.sleep(pause)
        pause = min(2 * pause, 0.02)


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Take the file's flock(2) lock without waiting. False if another open file has a conflicting one."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if is_unsupported(error):
            raise NoFileLocks(error) from error
        raise
    return True


def try_range(fd: int, kind: int, start: int = 0, length: int = 0) -> bool:
    """Take a lock of bytes of a file without waiting, or change the one held. False if another one conflicts with it.

    `kind` is F_RDLCK (shared) or F_WRLCK (exclusive). A `length` of 0 means to the end of the file.
    """
    assert SET_LOCK is not None
    try:
        fcntl.fcntl(fd, SET_LOCK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):  # POSIX allows both for "others hold it"
            return False
        if is_unsupported(error):
            raise NoFileLocks(error) from error
        raise
    return True


class Locks(Protocol):
    """How the files of one repository are locked."""

    def try_lock(self, fd: int, *, shared: bool = False) -> bool:
        """As the function `try_lock`."""
        ...

    def try_range(self, fd: int, kind: int, start: int = 0, length: int = 0) -> bool:
        """As the function `try_range`."""
        ...

    def close(self, fd: int) -> None:
        """Close a descriptor that may be locked, and so release its lock."""
        ...


class KernelLocks:
    """Locks of the kernel. Closing the descriptor releases them."""

    try_lock = staticmethod(try_lock)
    try_range = staticmethod(try_range)
    close = staticmethod(os.close)


KERNEL_LOCKS: Locks = KernelLocks()


def close_lock(fd: int, locks: Locks = KERNEL_LOCKS) -> None:
    """Close a lock file. An error is no reason to fail: nothing was written to it, and the lock is released anyway."""
    with suppress(OSError):
        locks.close(fd)


def is_at(status: os.stat_result, path: bytes) -> bool:
    """Whether the file with this status is still the one at `path`, not removed or replaced."""
    try:
        return os.path.samestat(status, os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def unlink_own(fd: int, path: bytes) -> bool:
    """Unlink `path` if it is still the file that is open as `fd`. Whether it was.

    The caller has the file locked. All who remove or replace a file at `path` lock that file first, so none of them
    does it between the check and the unlink. A program that does not lock it, such as rm, may have removed it earlier,
    and a file of another process may be there by now: that one stays.
    """
    if not is_at(os.fstat(fd), path):
        return False
    os.unlink(path)
    return True
