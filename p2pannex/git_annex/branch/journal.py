"""The journal: changes to the branch that are not committed yet. Each file is the whole new content of one log.

Whoever changes the journal, the branch or the branch's index holds the lock on ``annex/journal.lck``, git-annex too.
git-annex's locks are fcntl(2) locks of a process. Ours are fcntl locks of an open file ("open file description locks"):
both kinds exclude each other, and of ours two exclude each other also within one process, and none is dropped because
another descriptor of the file was closed. A git command that works under the lock inherits it, so that the lock is held
until the command is done, even if we are killed.

Files are written in ``annex/p2pannex`` and moved into place. Nothing is fsynced, as git-annex does not: the log says
what is in the repository, and ``git annex fsck`` finds out again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from p2pannex.git_annex.logs.names import InvalidName, journal_name
from p2pannex.system.disk_errors import disk_errors
from p2pannex.system.file_locks import Busy, try_range, wait_until

JOURNAL_LOCK_TIMEOUT = 60.0
"""Seconds to wait for the lock. Commits take it for a second at most, git-annex's merges for some seconds."""

BLOCK = 1 << 16

PAGE = 4096
"""Bytes of a file that are changed at once, on every machine."""


class Journal:
    """The journal of the repository at `git_dir`, and the files beside it. Calls block; any thread may make them.

    `shared_mode` are permission bits that the files made are given beside those that the umask leaves: 0o660 for
    core.sharedRepository=group.
    """

    def __init__(self, git_dir: bytes, *, timeout: float = JOURNAL_LOCK_TIMEOUT, shared_mode: int = 0) -> None:
        self.annex = os.path.join(git_dir, b"annex")
        self.directory = os.path.join(self.annex, b"journal")
        self._new = os.path.join(self.annex, b"p2pannex", b"journal")
        self.timeout = timeout
        self.shared_mode = shared_mode
        self._turn = threading.Lock()

    @contextmanager
    def lock(self, timeout: float | None = None) -> Iterator[int]:
        """Nobody else changes journal, index or branch meanwhile. Gives the lock's descriptor, for git to inherit.

        Busy when others hold it for longer than `timeout` seconds, the journal's own where it is None.
        RemoteError when it cannot be taken at all.
        """
        timeout = self.timeout if timeout is None else timeout
        if not self._turn.acquire(timeout=timeout):
            raise Busy
        try:
            with disk_errors("cannot lock the journal of the git-annex branch"):
                fd = self._open_lock()
                try:
                    wait_until(lambda: try_range(fd, fcntl.F_WRLCK), timeout)
                except BaseException:
                    os.close(fd)
                    raise
            try:
                yield fd
            finally:
                os.close(fd)
        finally:
            self._turn.release()

    def names(self) -> list[bytes]:
        """The files in the journal. To rely on it, hold the lock."""
        try:
            with os.scandir(self.directory) as entries:
                return sorted([entry.name for entry in entries if entry.is_file() and b"\n" not in entry.name])
        except FileNotFoundError:
            return []

    def read(self, path: bytes) -> bytes | None:
        """The new content of the log at `path`; None when the journal has none. InvalidName as `journal_name`."""
        with self.opened(path) as file:
            return None if file is None else file.text

    def has(self, path: bytes) -> bool:
        """Whether the journal has something for the log at `path`. Others may change that at any time."""
        try:
            return os.access(os.path.join(self.directory, journal_name(path)), os.F_OK)
        except InvalidName:
            return False

    @contextmanager
    def opened(self, path: bytes) -> Iterator[JournalFile | None]:
        """The journal's file for the log at `path`, as `read`."""
        try:
            fd = os.open(os.path.join(self.directory, journal_name(path)), os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            fd = -1
        except OSError:
            # Somebody else's, and not shared; or, being too long a name, it cannot be there.
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
        """Give the log at `path` new content. Hold the lock. InvalidName as `journal_name`."""
        name = journal_name(path)
        try:
            self.replace(os.path.join(self.directory, name), text)
        except FileNotFoundError:
            self._make_directory(self.directory)
            self.replace(os.path.join(self.directory, name), text)

    def remove(self, names: list[bytes]) -> None:
        """Remove files of these names, which have been committed. Hold the lock since before they were staged."""
        for name in names:
            try:
                os.unlink(os.path.join(self.directory, name))
            except FileNotFoundError:
                pass

    def replace(self, target: bytes, text: bytes) -> None:
        """Put a file with this content in the place of `target`, in one step. Hold the lock: the new file has always
        the same name until then."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            fd = os.open(self._new, flags, 0o666)
        except FileExistsError:
            os.unlink(self._new)  # somebody was killed
            fd = os.open(self._new, flags, 0o666)
        except FileNotFoundError:
            self._make_directory(self.annex)
            self._make_directory(os.path.dirname(self._new))
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
            return fd

    def _make_directory(self, path: bytes) -> None:
        try:
            os.mkdir(path)
        except FileExistsError:
            return
        if self.shared_mode:
            executable = (self.shared_mode & 0o444) >> 2
            os.chmod(path, os.stat(path).st_mode | self.shared_mode | executable)

    def _share(self, fd: int) -> None:
        if self.shared_mode:
            os.fchmod(fd, os.fstat(fd).st_mode & 0o7777 | self.shared_mode)


class JournalFile:
    """A file of the journal, open. `text` is what it says.

    git-annex may be told to append to files, and be interrupted: a last line without an end does not count.
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
        """Add a line, with its end; False where the file is to be replaced instead. Hold the journal's lock.

        To replace it takes ten times as long: a file is made and one removed, and some file systems write the new one
        to disk at once. git-annex takes a log with several lines of one repository, of which the newest counts: its
        merges leave such. Nobody reads half of the line: it goes into the file's first page by one write, and only
        then does the file get longer.
        """
        if not self.text or len(self.text) != self._size or self._size + len(line) > PAGE:
            return False
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            if error.errno == errno.EBADF:  # open for reading only
                return False
            raise
        if written != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written
        self.text += line
        return True
