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
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from typing import TypeVar

from p2pannex.git_annex.config import AnnexConfig
from p2pannex.keys.key import Key

T = TypeVar("T")

ATTEMPTS = 50
"""How often a change to a directory is tried while other programs make it read-only or remove it."""


class Sharing:
    """The permissions that core.sharedRepository asks for, as git-annex applies them."""

    def __init__(self, shared: str | None) -> None:
        self._mode: int | None = None
        self._extra = 0
        value = (shared or "false").lower()
        if value in ("group", "true", "1"):
            self._extra = 0o060
        elif value in ("all", "world", "everybody", "2"):
            self._extra = 0o064
        elif value not in ("umask", "false", "0", "no"):
            try:
                self._mode = int(value, 8) & 0o666
            except ValueError:
                self._extra = 0

    @property
    def shared(self) -> bool:
        return bool(self._extra or self._mode)

    @property
    def file_bits(self) -> int:
        """The permission bits that new files get in addition to those that the umask allows."""
        return self._mode or (0o600 | self._extra if self._extra else 0)

    def file(self, path: bytes) -> None:
        """Give a new file the permissions that core.sharedRepository asks for."""
        if self.shared:
            os.chmod(path, self._mode or stat.S_IMODE(os.stat(path).st_mode) | self._extra)

    def directory(self, path: bytes) -> None:
        """Give a new directory the permissions that core.sharedRepository asks for."""
        if self.shared:
            os.chmod(path, self._directory_mode(stat.S_IMODE(os.stat(path).st_mode)))

    def object_mode(self) -> int:
        """The permissions of an object file."""
        return 0o444 if self._mode is None else self._mode & 0o444

    def frozen_mode(self, mode: int) -> int:
        """The permissions of an object's directory while no program changes it.

        It is read-only, except for users who may write because of core.sharedRepository. `mode` is its present
        mode.
        """
        if self._extra:
            return self._directory_mode(mode) | 0o200
        return self._directory_mode(mode) & ~0o222 if self._mode is None else self._directory_mode(mode) & ~0o200

    def _directory_mode(self, mode: int) -> int:
        if not self.shared:
            return mode
        mode = mode | self._extra if self._mode is None else self._mode
        return mode | (mode & 0o444) >> 2 | stat.S_ISGID


class AnnexLayout:
    """The paths of a repository's files, and the changes to its object directories."""

    def __init__(self, config: AnnexConfig) -> None:
        self.annex = os.path.join(config.git_dir, b"annex")
        self.root = os.path.join(self.annex, b"objects")
        self.own = os.path.join(self.annex, b"p2pannex")
        self.sharing = Sharing(config.shared)
        self._bare = config.bare
        self.crippled = config.crippled
        self.has_permissions = not config.crippled
        self._latest: tuple[Key | None, tuple[bytes, bytes]] = None, (b"", b"")
        """The latest result of `places`: one request calls it a dozen times for the same key."""

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
        return {path}

    def prepare(self, path: bytes) -> bool:
        self.make_directories(os.path.dirname(path))
        return True

    def share(self, path: bytes) -> None:
        """Give a new file or directory the permissions that core.sharedRepository asks for."""
        if self.sharing.shared:
            (self.sharing.directory if os.path.isdir(path) else self.sharing.file)(path)

    def install(self, partial: bytes, path: bytes) -> set[bytes]:
        directory = os.path.dirname(path)
        for attempt in range(ATTEMPTS):
            made = self.make_directories(directory)
            try:
                self.within(directory, lambda: os.rename(partial, path))
                return made
            except FileNotFoundError:
                # Another program has removed the directory while it was empty, after it removed the content in it.
                if attempt + 1 == ATTEMPTS or not os.path.exists(partial):
                    raise
        raise AssertionError("the last attempt returns or raises")

    def protect(self, fd: int, path: bytes) -> None:
        os.fchmod(fd, self.sharing.object_mode())
        self.freeze(os.path.dirname(path))

    def verified_mode(self, mode: int) -> int:
        return mode  # if it is writable, git-annex or a user has made it so

    def quarantine(self, key: Key, path: bytes) -> bytes:
        bad = b"%b/bad/%b" % (self.annex, key.file_name)
        self.make_directories(os.path.dirname(bad))
        directory = os.path.dirname(path)
        try:
            self.within(directory, lambda: os.rename(path, bad))
        finally:
            self.remove_empty(directory)
        return bad

    def discard(self, path: bytes) -> None:
        self.within(os.path.dirname(path), lambda: os.unlink(path))

    def within(self, directory: bytes, change: Callable[[], T]) -> T:
        """Change an object's directory, which is made writable if necessary. Returns the result of `change`.

        The caller must call `freeze` after its last change.
        """
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
        if self.crippled:
            return
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
        try:
            os.chmod(directory, mode)
        except PermissionError:
            # Another user of the group owns it. The group's permissions are enough, or the change itself will fail.
            pass
