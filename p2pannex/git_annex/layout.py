"""Where a git-annex repository keeps its files, and with which permissions.

::

    GITDIR/annex/objects/pX/ZJ/KEYFILE/KEYFILE     content: new objects of a repository with a work tree
    GITDIR/annex/objects/f87/4d5/KEYFILE/KEYFILE   content: new objects of a bare repository
    GITDIR/annex/bad/KEYFILE                       content that turned out to be wrong
    GITDIR/annex/tmp/KEYFILE                       content that has not arrived completely
    GITDIR/annex/transfer/download/lck/lck.KEYFILE lock file of the program that receives the content
    GITDIR/annex/p2pannex/                         p2pannex's own files: retention records and lock files

Any repository may have objects at both places, so both are searched.

Objects are read-only files in read-only directories, as a protection against an accidental ``rm``. To change a
directory, p2pannex makes it writable, makes the change, and makes it read-only again. git-annex does the same at any
time, in between as well. So a change may fail for lack of permission, and is then tried again.

The owner may have set commands that protect objects in another way (`hooks`). Then every change of a directory, and
every removal of an object, is between a thaw and a freeze.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from p2pannex.git_annex.config import AnnexConfig
from p2pannex.git_annex.hooks import ContentHooks
from p2pannex.git_annex.pid_locks import locks_of
from p2pannex.git_annex.sharing import Sharing
from p2pannex.keys.key import Key
from p2pannex.system.file_locks import is_at
from p2pannex.system.unsupported import chmod, rename
from p2pannex.system.writers_only import limit_to_writers

T = TypeVar("T")

ERASING = b"p2pannex.erase"
"""The name, in its own directory, of an object that is erased where objects are on another file system."""

ATTEMPTS = 50
"""How often a change to a directory is tried while other programs make it read-only or remove it."""


class AnnexLayout:
    """The paths of a repository's files, and the changes to its object directories."""

    def __init__(self, config: AnnexConfig) -> None:
        self.annex = os.path.join(config.git_dir, b"annex")
        self.root = os.path.join(self.annex, b"objects")
        self.own = os.path.join(self.annex, b"p2pannex")
        self._erasing = os.path.join(self.own, b"erasing")
        self.sharing = Sharing(config.shared)
        self._bare = config.bare
        self.crippled = config.crippled
        self.has_permissions = not config.crippled
        self.locks = locks_of(config)
        self.hooks = ContentHooks(config.git_dir, config.values)
        self._latest: tuple[Key | None, tuple[bytes, bytes]] = None, (b"", b"")
        """The latest result of `places`: one request calls it a dozen times for the same key."""

    @property
    def removes_quickly(self) -> bool:
        """Whether a removal runs no commands of the owner, which may take any time."""
        return not (self.hooks.thaw or self.hooks.erase or self.hooks.freeze)

    def places(self, key: Key) -> tuple[bytes, bytes]:
        latest, paths = self._latest
        if latest is not key:
            name = key.file_name
            lower = b"%b/%b/%b/%b" % (self.root, key.hashdir_lower, name, name)
            mixed = b"%b/%b/%b/%b" % (self.root, key.hashdir_mixed, name, name)
            paths = (lower, mixed) if self._bare else (mixed, lower)
            self._latest = key, paths
        return paths

    def find(self, key: Key) -> bytes:
        paths = self.places(key)
        return next((path for path in paths if os.path.lexists(path)), paths[0])

    def neighbourhood(self, key: Key) -> bytes:
        """The first directory, below the root, of the path of a new object of the key."""
        return (key.hashdir_lower if self._bare else key.hashdir_mixed).partition(b"/")[0]

    def partial(self, key: Key) -> bytes:
        return b"%b/tmp/%b" % (self.annex, key.file_name)

    def transfer_lock(self, key: Key) -> bytes:
        """The lock file of a transfer that receives the content. git-annex takes the same lock, for any source."""
        return b"%b/transfer/download/lck/lck.%b" % (self.annex, key.file_name)

    def make_directories(self, path: bytes, attempts: int = ATTEMPTS) -> set[bytes]:
        """Make the directory and its missing parents. Returns the paths of the directories that were made.

        Other programs may remove the parents at any time while they are empty; then they are made again. `attempts`
        bounds that, because with a dangling symbolic link in the path it would fail every time.
        """
        try:
            os.mkdir(path)
        except FileExistsError:
            return set()
        except FileNotFoundError:
            if not attempts:
                raise
            made = self.make_directories(os.path.dirname(path))
            return made | self.make_directories(path, attempts - 1)
        self.sharing.directory(path)
        if path == self.own:
            limit_to_writers(path)
        return {path}

    def prepare(self, path: bytes) -> bool:
        self.make_directories(os.path.dirname(path))
        return True

    def share(self, path: bytes) -> None:
        """Give a new file or directory the permissions that core.sharedRepository asks for."""
        self.sharing.share(path)

    def install(self, partial: bytes, path: bytes) -> set[bytes]:
        directory = os.path.dirname(path)
        for attempt in range(ATTEMPTS):
            made = self.make_directories(directory)
            try:
                self.within(directory, lambda: rename(partial, path, os.path.join(directory, b"p2pannex.new")))
                return made
            except FileNotFoundError:
                # Another program has removed the directory while it was empty, after it removed the content in it.
                if attempt + 1 == ATTEMPTS or not os.path.exists(partial):
                    raise
        raise AssertionError("the last attempt returns or raises")

    def protect(self, fd: int, path: bytes) -> None:
        status = os.fstat(fd)
        # A copy was installed if the partial was on another file system.
        chmod(fd if status.st_nlink else path, self.sharing.object_mode(stat.S_IMODE(status.st_mode)))
        self.hooks.freeze.run(path)
        self.freeze(os.path.dirname(path))

    def verified_mode(self, mode: int) -> int:
        return mode  # if it is writable, git-annex or a user has made it so

    def quarantine(self, key: Key, path: bytes) -> bytes:
        bad = b"%b/bad/%b" % (self.annex, key.file_name)
        self.make_directories(os.path.dirname(bad))
        directory = os.path.dirname(path)
        try:
            self.hooks.thaw.run(path)
            self.within(directory, lambda: rename(path, bad, bad + b".new"))
        finally:
            self.remove_empty(directory)
        return bad

    @contextmanager
    def removable(self, path: bytes) -> Iterator[None]:
        """Let the object at `path` be removed in the block: the owner's commands, which may take long, run before it.

        If the object is still there afterwards, it is protected again.
        """
        directory = os.path.dirname(path)
        if self.hooks.erase:
            self.make_directories(self._erasing)
            left = [os.path.join(self._erasing, name) for name in os.listdir(self._erasing)]
            for killed in (*left, os.path.join(directory, ERASING)):
                self._erase_left_over(killed)
        if self.hooks.thaw and os.path.lexists(path):
            self._thaw(directory)
            self.hooks.thaw.run(path)
        try:
            yield
        finally:
            if self.hooks.freeze and os.path.lexists(path):
                self.hooks.freeze.run(path)
                self.freeze(directory)

    def discard(self, path: bytes) -> None:
        if self.hooks.erase:
            self._erase(path)
        else:
            self._change(os.path.dirname(path), lambda: os.unlink(path))

    def _erase(self, path: bytes) -> None:
        """Run the owner's secure-erase command on an object, and unlink it.

        The object is moved away first. So from the first byte that the command overwrites, no program takes the file
        for the content of the key, even if this process is killed. The next removal erases what a killed one left.
        """
        self.make_directories(self._erasing)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            self.locks.try_lock(fd)  # so that others do not take it for what a killed process left
            directory = os.path.dirname(path)
            moved = os.path.join(self._erasing, os.path.basename(path))
            try:
                self._change(directory, lambda: os.rename(path, moved))
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                # Objects are on another file system. A copy there would leave the blocks of the object unerased.
                moved = os.path.join(directory, ERASING)
                self._change(directory, lambda: os.rename(path, moved))
            self._run_erase(moved)
        finally:
            self.locks.close(fd)

    def _erase_left_over(self, path: bytes) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return
        try:
            if self.locks.try_lock(fd) and is_at(os.fstat(fd), path):  # otherwise it is another object by now
                self._run_erase(path)
        finally:
            self.locks.close(fd)

    def _run_erase(self, path: bytes) -> None:
        with suppress(OSError):
            os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) | stat.S_IWUSR)
        self.hooks.erase.run(path)
        with suppress(FileNotFoundError):  # the command may remove the file
            os.unlink(path)

    def within(self, directory: bytes, change: Callable[[], T]) -> T:
        """Change an object's directory, which is made writable if necessary. Returns the result of `change`.

        The caller must call `freeze` after its last change.
        """
        if self.hooks.thaw:
            self._thaw(directory)
        return self._change(directory, change)

    def _thaw(self, directory: bytes) -> None:
        self.hooks.thaw.run(directory)
        with suppress(FileNotFoundError):
            mode = stat.S_IMODE(os.stat(directory).st_mode)
            if not self.crippled and not mode & stat.S_IWUSR:
                self._chmod(directory, mode | stat.S_IWUSR)

    def _change(self, directory: bytes, change: Callable[[], T]) -> T:
        for attempt in range(ATTEMPTS):
            try:
                return change()
            except PermissionError:
                if attempt + 1 == ATTEMPTS:
                    raise
                mode = stat.S_IMODE(os.stat(directory).st_mode)
                if not mode & stat.S_IWUSR:
                    self._chmod(directory, mode | stat.S_IWUSR)
                if attempt:
                    time.sleep(0.0005)
        raise AssertionError("the last attempt returns or raises")

    def freeze(self, directory: bytes) -> None:
        """Make an object's directory read-only, if it still exists."""
        if not self.crippled:
            self._make_read_only(directory)
        if self.hooks.freeze and os.path.isdir(directory):
            self.hooks.freeze.run(directory)

    def _make_read_only(self, directory: bytes) -> None:
        try:
            mode = stat.S_IMODE(os.stat(directory).st_mode)
            if mode != self.sharing.frozen_mode(mode):
                self._chmod(directory, self.sharing.frozen_mode(mode))
        except FileNotFoundError:
            pass

    def remove_empty(self, directory: bytes) -> None:
        """Remove an object's directory if it is empty; otherwise make it read-only."""
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            pass
        except OSError:
            self.freeze(directory)

    def _chmod(self, directory: bytes, mode: int) -> None:
        # Where this is not permitted, another user of the group owns the directory: the group's permissions are enough,
        # or the change itself will fail.
        with suppress(PermissionError):
            chmod(directory, mode)
