"""annex.pidlock: file locks for file systems that have none.

git-annex then takes one lock for the whole repository: the file ``annex/pidlock``, which names the process that holds
it. It comes into being by link(2) or by O_EXCL, which need no locks. `PidLocks` takes the same lock, and holds it for
as long as any lock of this process is held. So:

- Of all processes of both programs, one at a time changes the repository, or keeps content for a client.
- The tasks and threads of that process exclude each other by a table in memory.

**A lock file that a killed process left** names a process that does not run any more. On the same machine that can be
found out, but two processes must not both replace the file. So git-annex takes a *side lock* first, a file in /dev/shm
named after the path, which the kernel unlocks when its holder ends; p2pannex takes the same. A lock file of another
machine stays until it is deleted by hand, as in git-annex.

What is weaker than with file locks: machines that share the repository see each other's lock file only as far as the
file system shows it to them; and a git command that outlives us is not waited for.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import socket
import threading

from p2pannex.git_annex.config import AnnexConfig
from p2pannex.system.file_locks import KERNEL_LOCKS, Locks, is_at, try_range, unlink_own
from p2pannex.system.unsupported import is_unsupported

SIDE_LOCKS = b"/dev/shm"
"""Where side locks are: a file system of this machine that every user can write to."""

_CONTENT = re.compile(rb'PidLock \{lockingPid = (\d{1,9}), lockingHost = "([^"]*)"\}\s*')

_Held = tuple[tuple[int, int, str], bool, int, int]
"""The file (and flock or fcntl, which do not exclude each other), whether exclusive, and the first and last byte."""

_ALL = 1 << 63


class PidLocks:
    """The locks of one repository, for this process: the counterpart of `p2pannex.system.file_locks.KernelLocks`."""

    def __init__(self, annex: bytes) -> None:
        self._path = os.path.join(annex, b"pidlock")
        self._mutex = threading.Lock()
        self._held: dict[int, _Held] = {}
        self._side = -1
        self._side_path = b""

    def try_lock(self, fd: int, *, shared: bool = False) -> bool:
        return self._try(fd, "flock", not shared, 0, _ALL)

    def try_range(self, fd: int, kind: int, start: int = 0, length: int = 0) -> bool:
        return self._try(fd, "fcntl", kind == fcntl.F_WRLCK, start, start + length if length else _ALL)

    def close(self, fd: int) -> None:
        with self._mutex:
            if self._held.pop(fd, None) is not None and not self._held:
                self._release()
            os.close(fd)

    def _try(self, fd: int, kind: str, exclusive: bool, start: int, end: int) -> bool:
        status = os.fstat(fd)
        file = status.st_dev, status.st_ino, kind
        with self._mutex:
            for other, (held, held_exclusive, held_start, held_end) in self._held.items():
                if (
                    other != fd
                    and held == file
                    and (exclusive or held_exclusive)
                    and start < held_end
                    and held_start < end
                ):
                    return False
            if not self._held and not self._acquire():
                return False
            self._held[fd] = file, exclusive, start, end
            return True

    def _acquire(self) -> bool:
        """Take the repository's lock, without waiting."""
        if not self._take_side_lock():
            return False
        taken = False
        try:
            taken = self._make_lock_file()
        finally:
            if not taken:
                self._drop_side_lock()
        return taken

    def _make_lock_file(self) -> bool:
        new = os.path.join(os.path.dirname(self._path), b"locktmp-p2pannex-" + secrets.token_hex(8).encode())
        content = b'PidLock {lockingPid = %d, lockingHost = "%b"}' % (os.getpid(), os.fsencode(socket.gethostname()))
        _write(new, content)
        try:
            try:
                os.link(new, self._path)
            except OSError as error:
                if not is_unsupported(error):
                    raise
                _write(self._path, content)
        except FileExistsError:
            if not self._is_left_over():
                return False
            os.rename(new, self._path)  # the side lock keeps other processes from doing the same
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)
        return True

    def _is_left_over(self) -> bool:
        """Whether the lock file names a process of this machine that does not run any more."""
        try:
            with open(self._path, "rb") as file:
                match = _CONTENT.fullmatch(file.read(4096))
        except FileNotFoundError:
            return False  # it has just been released: the next attempt gets it
        if match is None or os.fsdecode(match[2]) != socket.gethostname():
            return False
        pid = int(match[1])
        if pid == os.getpid():
            return True  # another process had our number: ours is not held
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass
        return False

    def _release(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        self._drop_side_lock()

    def _take_side_lock(self) -> bool:
        path = side_lock_path(self._path)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            with contextlib.suppress(OSError):
                os.fchmod(fd, 0o666)  # for other users of the repository
            if try_range(fd, fcntl.F_WRLCK) and is_at(os.fstat(fd), path):
                self._side, self._side_path = fd, path
                fd = -1
                return True
            return False
        finally:
            if fd >= 0:
                os.close(fd)

    def _drop_side_lock(self) -> None:
        fd, self._side = self._side, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                unlink_own(fd, self._side_path)  # who opened it before, and locks it now, finds that it is gone
            os.close(fd)


def side_lock_path(path: bytes) -> bytes:
    """The path of the side lock for the lock file at `path`, as git-annex names it."""
    name = os.fsdecode(path).lstrip("/").replace("/", "_")
    digest = hashlib.md5(os.fsencode(name), usedforsecurity=False).hexdigest()
    return os.path.join(SIDE_LOCKS, os.fsencode(f"{digest}{name[-32:]}.lck"))


def _write(path: bytes, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)


_known: dict[bytes, PidLocks] = {}


def locks_of(config: AnnexConfig) -> Locks:
    """How the files of the repository are locked. All its users in this process share one `PidLocks`."""
    if not config.pid_lock:
        return KERNEL_LOCKS
    annex = os.path.join(config.git_dir, b"annex")
    return _known.setdefault(annex, PidLocks(annex))
