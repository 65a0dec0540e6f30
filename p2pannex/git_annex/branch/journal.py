"""The journal: changes to the branch that are not committed yet. Each file has the whole new content of one log.

Every program that changes the journal, the branch or the branch's index, git-annex included, holds the lock on
``annex/journal.lck`` meanwhile. git-annex takes fcntl(2) locks that belong to a process. Ours belong to an open file
("open file description locks"):

- Locks of the two kinds exclude each other.
- Two of ours exclude each other within one process too.
- Closing another descriptor of the file does not drop them.
- A git command that runs under the lock inherits it. So the lock is held until the command ends, even if we are killed.

Files are written in ``annex/p2pannex`` and renamed into place. Nothing is fsynced, as in git-annex: ``git annex fsck``
can restore the location logs from the content of the repository.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy

from p2pannex.git_annex.logs.names import InvalidName, journal_name
from p2pannex.system.disk_errors import disk_errors
from p2pannex.system.file_locks import KERNEL_LOCKS, Busy, Locks, close_lock, wait_until
from p2pannex.system.unsupported import chmod
from p2pannex.system.writers_only import limit_to_writers

JOURNAL_LOCK_TIMEOUT = 60.0
"""Seconds to wait for the lock. Commits hold it for a second at most, merges of git-annex for some seconds."""

NAME_MAX = 255
"""Bytes of the longest file name."""

BLOCK = 1 << 16

PAGE = 4096
"""Bytes at the start of a file that one write changes atomically for readers, on every machine."""


def _denied(path: bytes, access: int) -> bool:
    """Whether the path exists and does not allow the access. It is looked at twice: another process may have made it
    after the first look."""
    return not os.access(path, access) and os.path.lexists(path) and not os.access(path, access)


class Journal:
    """The journal of the repository at `git_dir`. Its methods block; any thread may call them.

    `timeout`: seconds to wait for the lock. `shared_mode`: permission bits that new files get in addition to those that
    the umask allows, such as 0o660 for core.sharedRepository=group.
    """

    def __init__(
        self,
        git_dir: bytes,
        *,
        timeout: float = JOURNAL_LOCK_TIMEOUT,
        shared_mode: int = 0,
        locks: Locks = KERNEL_LOCKS,
    ) -> None:
        self.annex = os.path.join(git_dir, b"annex")
        self.directory = os.path.join(self.annex, b"journal")
        self._new = os.path.join(self.annex, b"p2pannex", b"journal")
        self.timeout = timeout
        self.shared_mode = shared_mode
        self._locks = locks
        self._turn = threading.Lock()

    def private(self) -> Journal:
        """The private journal: ``annex/journal-private``, which has what is logged about private repositories.

        It has the same lock. It is never committed.
        """
        other = copy(self)
        other.directory = os.path.join(self.annex, b"journal-private")
        return other

    @contextmanager
    def lock(self, timeout: float | None = None) -> Iterator[int]:
        """Lock the journal, the index and the branch for the block. Yields the lock's descriptor, for git to inherit.

        Busy if other threads or processes hold it for longer than `timeout` seconds; None means the journal's timeout.
        RemoteError if the lock file cannot be opened or made.
        """
        timeout = self.timeout if timeout is None else timeout
        if not self._turn.acquire(timeout=timeout):
            raise Busy
        try:
            with disk_errors("cannot lock the journal of the git-annex branch"):
                fd = self._open_lock()
                try:
                    wait_until(lambda: self._locks.try_range(fd, fcntl.F_WRLCK), timeout, fd)
                except BaseException:
                    self._locks.close(fd)
                    raise
            try:
                yield fd
            finally:
                close_lock(fd, self._locks)
        finally:
            self._turn.release()

    def require_writable(self, path: bytes, *, room: int) -> None:
        """OSError if the log at `path` could not be written now, as far as that can be known without doing it.

        The causes that are looked for: the name is too long, directories or the lock file must not be changed, or fewer
        than `room` bytes are free. InvalidName as `journal_name`. The caller does not need the lock.
        """
        if len(journal_name(path)) > NAME_MAX:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        git_dir = os.path.dirname(self.annex)
        for directory in (self.directory, os.path.dirname(self._new)):
            while not os.access(directory, os.W_OK | os.X_OK):
                if directory == git_dir or _denied(directory, os.W_OK | os.X_OK):
                    raise self._not_writable(directory)
                directory = os.path.dirname(directory)  # it will be made
        lock = os.path.join(self.annex, b"journal.lck")
        if _denied(lock, os.R_OK | os.W_OK):
            raise self._not_writable(lock)
        if room:
            system = os.statvfs(git_dir)
            if system.f_bavail * system.f_frsize < room or (system.f_files and not system.f_favail):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _not_writable(self, path: bytes) -> OSError:
        try:
            read_only = os.statvfs(path).f_flag & os.ST_RDONLY
        except OSError as error:
            return error
        number = errno.EROFS if read_only else errno.EACCES
        return OSError(number, os.strerror(number))

    def names(self) -> list[bytes]:
        """The files in the journal. The list stays true only while the caller holds the lock."""
        try:
            with os.scandir(self.directory) as entries:
                return sorted([entry.name for entry in entries if entry.is_file() and b"\n" not in entry.name])
        except FileNotFoundError:
            return []

    def read(self, path: bytes) -> bytes | None:
        """The journal's content of the log at `path`; None if the journal has none. InvalidName as `journal_name`."""
        with self.opened(path) as file:
            return None if file is None else file.text

    def has(self, path: bytes) -> bool:
        """Whether the journal has a file for the log at `path`. Without the lock, that may change at any time."""
        try:
            return os.access(os.path.join(self.directory, journal_name(path)), os.F_OK)
        except InvalidName:
            return False

    @contextmanager
    def opened(self, path: bytes) -> Iterator[JournalFile | None]:
        """Open the journal's file for the log at `path`; None if there is none. InvalidName as `journal_name`."""
        try:
            fd = os.open(os.path.join(self.directory, journal_name(path)), os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            fd = -1
        except OSError:
            # Another user owns the file, and we may only read it. Or its name is too long, so it cannot exist.
            fd = self._open_to_read(path)
        if fd < 0:
            yield None
            return
        try:
            yield JournalFile(fd)
        finally:
            os.close(fd)

    def _open_to_read(self, path: bytes) -> int:
        try:
            return os.open(os.path.join(self.directory, journal_name(path)), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return -1

    def write(self, path: bytes, text: bytes) -> None:
        """Replace the content of the log at `path`. The caller holds the lock. InvalidName as `journal_name`."""
        name = journal_name(path)
        try:
            self.replace(os.path.join(self.directory, name), text)
        except FileNotFoundError:
            self._make_directory(self.directory)
            self.replace(os.path.join(self.directory, name), text)

    def remove(self, names: list[bytes]) -> None:
        """Remove files that have been committed. The caller has held the lock since before it read them."""
        for name in names:
            try:
                os.unlink(os.path.join(self.directory, name))
            except FileNotFoundError:
                pass

    def replace(self, target: bytes, text: bytes) -> None:
        """Replace the file `target` by one with this content, atomically.

        The caller holds the lock, because the temporary file always has the same name.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            fd = os.open(self._new, flags, 0o666)
        except FileExistsError:
            os.unlink(self._new)  # a killed process left it
            fd = os.open(self._new, flags, 0o666)
        except FileNotFoundError:
            self._make_directory(self.annex)
            self._make_directory(os.path.dirname(self._new))
            limit_to_writers(os.path.dirname(self._new))
            fd = os.open(self._new, flags, 0o666)
        try:
            try:
                self._share(fd)
                view = memoryview(text)
                while view:
                    view = view[os.write(fd, view) :]
            finally:
                os.close(fd)
            os.rename(self._new, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(self._new)
            raise

    def _open_lock(self) -> int:
        path = os.path.join(self.annex, b"journal.lck")
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            if not os.path.isdir(self.annex):
                self._make_directory(self.annex)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._share(fd)
            limit_to_writers(path)
            return fd

    def _make_directory(self, path: bytes) -> None:
        try:
            os.mkdir(path)
        except FileExistsError:
            return
        if self.shared_mode:
            executable = (self.shared_mode & 0o444) >> 2
            chmod(path, os.stat(path).st_mode | self.shared_mode | executable)

    def _share(self, fd: int) -> None:
        if self.shared_mode:
            chmod(fd, os.fstat(fd).st_mode & 0o7777 | self.shared_mode)


class JournalFile:
    """An open file of the journal. `text` is its content.

    git-annex can be configured to append to files, and may be interrupted at that. So a last line without a newline is
    left out of `text`.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        block = text = os.read(fd, BLOCK)
        while len(block) == BLOCK:
            block = os.read(fd, BLOCK)
            text += block
        self._size = len(text)
        self.text = text[: text.rfind(b"\n") + 1]

    def append(self, line: bytes) -> bool:
        """Append a line, which ends with a newline. False if the caller has to replace the file instead.

        The caller holds the journal's lock. To replace the file takes ten times as long: that makes a file and removes
        one, and some file systems write the new one to disk immediately.

        Readers do not need the lock, and this is safe for them:

        - They never see half of the line. One write puts it into the file's first page, and the file's size grows only
          after that.
        - git-annex accepts a log with several lines for one repository, of which the newest counts: its own merges
          make such logs.
        """
        if not self.text or len(self.text) != self._size or self._size + len(line) > PAGE:
            return False
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            if error.errno == errno.EBADF:  # `opened` could open the file only for reading
                return False
            raise
        if written != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written
        self.text += line
        return True
