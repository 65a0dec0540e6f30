"""Lock files that are there for a moment, without a new file for each.

To receive or to remove a key's content, its lock file has to be there and locked. There mostly is none, and to make a
file and to remove it again costs more than all else: an inode is found, written, and given back. Here instead a file
of ours, which is locked already, is given the lock file's name as a second one; and that name is taken away again.

Nobody can tell the difference:

- The name comes into being by link(2), which fails where there is one; so the lock file of somebody else is never
  touched. From its first moment on it is locked exclusively, as one is that somebody has just made and locked.
- The name goes before the lock does. So whoever found the file by that name, and gets the lock later, sees that the
  file is not at the name any more, as after every removal of a lock file.
- The file is given no other name before we have it locked anew. If somebody holds it who found it by an earlier name,
  it is not used.

Such files lie in ``annex/p2pannex/locks``, 0, 1, 2 and so on. Each belongs to the process that has flock(2)ed it, which
is nothing to those who lock the file with fcntl(2). One that has a second name when it is taken over belonged to a
process that was killed; it is left to that name, as an ordinary lock file that nobody holds.
"""

from __future__ import annotations

import errno
import fcntl
import os

from p2pannex.git_annex.layout import AnnexLayout
from p2pannex.stores.annex.locks import LockFile
from p2pannex.system.file_locks import is_at, try_lock, try_range

FILES = 64
"""Files that there are at most, for all processes."""

AT_ONCE = 16
"""Files that one process has at most."""


class SpareLocks:
    """The files that this process gives names to. Any thread may call."""

    def __init__(self, layout: AnnexLayout) -> None:
        self._layout = layout
        self._directory = os.path.join(layout.own, b"locks")
        self._spares: list[tuple[int, bytes]] = []
        self._usable = not layout.crippled
        self._open_files = 0
        self._closed = False

    def take(self, path: bytes) -> LockFile | None:
        """Make the lock file, locked exclusively. None where that cannot be done so; then `LockFile.take` is right.

        PermissionError where its directory is read-only.
        """
        if not self._usable:
            return None
        self._closed = False
        try:
            fd, own_path = self._spares.pop()
        except IndexError:
            spare = self._open() if self._open_files < AT_ONCE else None
            if spare is None:
                return None
            fd, own_path = spare
        if not try_range(fd, fcntl.F_WRLCK):
            self.let_go(fd)  # somebody who found it by its last name is still at it
            return None
        try:
            os.link(own_path, path, follow_symlinks=False)
        except OSError as error:
            self.give_back(fd, own_path)
            if error.errno == errno.EACCES:
                raise
            # There is a lock file; or no directory for it; or, with all other errors, there are no links.
            self._usable = error.errno in (errno.EEXIST, errno.ENOENT)
            return None
        return _LentLock(self, fd, own_path, path)

    def _open(self) -> tuple[int, bytes] | None:
        """A file that no other process has, nor a task of this one."""
        self._layout.make_directories(self._directory)
        for number in range(FILES):
            path = os.path.join(self._directory, b"%d" % number)
            for _ in range(2):
                try:
                    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
                except PermissionError:
                    break  # another user's
                if not try_lock(fd):
                    os.close(fd)
                    break
                status = os.fstat(fd)
                if status.st_nlink == 1 and is_at(status, path):
                    if not status.st_size and status.st_uid == os.geteuid():
                        self._layout.sharing.file(path)
                    self._open_files += 1
                    return fd, path
                if is_at(status, path):
                    os.unlink(path)
                os.close(fd)
        self._usable = False  # so many processes have them all
        return None

    def give_back(self, fd: int, own_path: bytes) -> None:
        """The file has its own name only, and may be given another."""
        if self._closed:
            self.let_go(fd)
        else:
            try_range(fd, fcntl.F_UNLCK)
            self._spares.append((fd, own_path))

    def close(self) -> None:
        """Let other processes have the files: at once, or when they have their own names only. `take` opens more."""
        self._closed = True
        while self._spares:
            self.let_go(self._spares.pop()[0])

    def let_go(self, fd: int) -> None:
        """The file is nobody's any more."""
        self._open_files -= 1
        os.close(fd)


class _LentLock(LockFile):
    """A file of ours that has the name of a lock file."""

    def __init__(self, spares: SpareLocks, fd: int, own_path: bytes, path: bytes) -> None:
        super().__init__(fd, path)
        self._spares = spares
        self._own_path = own_path

    def remove(self) -> None:
        if self._fd < 0:
            return
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass  # somebody has cleaned up by hand
        fd, self._fd = self._fd, -1
        self._spares.give_back(fd, self._own_path)

    def close(self) -> None:
        """Let go of the lock file, which stays, as an ordinary one: it is ours no more."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            try:
                os.unlink(self._own_path)
            except FileNotFoundError:
                pass
            self._spares.let_go(fd)
