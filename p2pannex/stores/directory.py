"""`DirectoryStore`: a store in a plain directory, without git.

::

    DIR/p2pannex.toml                            its uuid and settings
    DIR/annex/objects/abc/def/KEYFILE/KEYFILE    content, in git-annex's layout of a bare repository
    DIR/annex/bad/KEYFILE                        content that turned out to be wrong
    DIR/annex/tmp/KEYFILE                        content that has not arrived completely
    DIR/annex/retention/KEYFILE/...              retention records: until when locked content must be kept
    DIR/annex/exclusion/00 .. ff                 lock files

Any number of processes may serve the same directory at the same time. They must run on one machine, and the file system
must be local, because the locks are flock(2) locks and the times are those of the machine's clocks.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress

import trio

from p2pannex.errors import RemoteError
from p2pannex.git_annex.sharing import Sharing
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Upload
from p2pannex.stores.directory_config import NO_STORE, checked_uuid, config_path, new_uuid, positive, read_config
from p2pannex.stores.files.exclusion import Exclusion
from p2pannex.stores.files.inventory import Contents, count, objects
from p2pannex.stores.files.objects import ObjectStore
from p2pannex.stores.files.partial_sweep import PartialSweep
from p2pannex.stores.files.retention import LOCKS, LOCKS_PER_KEY, LockLimits, Retention
from p2pannex.system.clock import Clock, SystemClock
from p2pannex.system.disk_errors import disk_errors
from p2pannex.system.disk_work import DiskWork
from p2pannex.system.durability import make_directories, names_durable, replace_file
from p2pannex.system.file_locks import KERNEL_LOCKS
from p2pannex.system.fsync_batch import run_blocking
from p2pannex.system.unsupported import chmod, rename
from p2pannex.system.writers_only import limit_to_writers

DAY = 24 * 3600

DISK_RESERVE = 100_000_000
"""Default of the bytes that are left free on the disk."""

PARTIAL_DAYS = 30
"""Default of the days after which content that has not arrived completely is removed."""

WRITERS_ONLY = (b"exclusion", b"retention", b"tmp")
"""Directories in ``annex/`` with files that are locked: only those who may write to them can open these files."""

CONFIG_TEXT = """\
# A p2pannex directory store. Its content is in annex/, in the layout of a bare git-annex repository.
uuid = "{uuid}"

# Bytes to leave free on the disk. An upload that needs them is refused.
disk_reserve = {disk_reserve}
"""


class NotAStore(RemoteError):
    """The directory has no directory store, or one that cannot be used."""


def _sharing(directory: bytes) -> Sharing:
    """With its group, if that may write to the store's directory, and so may use the whole store."""
    try:
        shared = os.stat(directory).st_mode & stat.S_IWGRP
    except OSError:
        shared = 0
    return Sharing("group" if shared else None)


class DirectoryLayout:
    """The paths of a directory store's files: the `Layout` of its `ObjectStore`."""

    has_permissions = True
    locks = KERNEL_LOCKS
    removes_quickly = True

    def __init__(self, directory: bytes) -> None:
        self._sharing = _sharing(directory)
        self.root = os.path.join(directory, b"annex", b"objects")
        self._tmp = os.path.join(directory, b"annex", b"tmp")
        self._bad = os.path.join(directory, b"annex", b"bad")

    def places(self, key: Key) -> tuple[bytes]:
        return (self.find(key),)

    def find(self, key: Key) -> bytes:
        name = key.file_name
        return b"%b/%b/%b/%b" % (self.root, key.hashdir_lower, name, name)

    def partial(self, key: Key) -> bytes:
        return self._tmp + b"/" + key.file_name

    def share(self, path: bytes) -> None:
        self._sharing.share(path)  # nothing if it is not shared: the umask decides then

    def prepare(self, path: bytes) -> bool:
        return False  # `create` makes the directory; if it is missing, the store is damaged

    def install(self, partial: bytes, path: bytes) -> set[bytes]:
        made = make_directories(os.path.dirname(path))
        for directory in made:
            self.share(directory)
        rename(partial, path, os.path.join(os.path.dirname(path), b"p2pannex.new"))
        return made

    def protect(self, fd: int, path: bytes) -> None:
        status = os.fstat(fd)
        # A copy was installed if the partial was on another file system.
        chmod(fd if status.st_nlink else path, stat.S_IMODE(status.st_mode) & 0o444)

    def removable(self, path: bytes) -> AbstractContextManager[None]:
        return nullcontext()

    def verified_mode(self, mode: int) -> int:
        return mode & 0o444

    def discard(self, path: bytes) -> None:
        os.unlink(path)

    def quarantine(self, key: Key, path: bytes) -> bytes:
        for directory in make_directories(self._bad):
            self.share(directory)
        bad = self._bad + b"/" + key.file_name
        os.rename(path, bad)
        return bad


class DirectoryStore(ObjectStore):
    """The store in the directory `path`, which `create` has made. NotAStore if there is none.

    disk_work: how the store waits for the disk (`p2pannex.system.disk_work`). None means in threads, which is right for
        any number of clients.
    clock, boot: the clocks and the boot id, for tests that skew time.

    The caller must close the store with `aclose`, or use it as an ``async with`` block. Closing removes directories
    that have become empty.
    """

    def __init__(
        self,
        path: str | bytes | os.PathLike[str],
        *,
        disk_work: DiskWork | None = None,
        clock: Clock | None = None,
        boot: str | None = None,
    ) -> None:
        directory = os.path.abspath(os.fsencode(path))
        shown = os.fsdecode(directory)
        try:
            config = read_config(directory)
            uuid = checked_uuid(config.get("uuid"))
            if "cluster" in config:
                raise ValueError("it is the gateway of a cluster, not a store")
            disk_reserve = config.get("disk_reserve", DISK_RESERVE)
            if not isinstance(disk_reserve, int) or disk_reserve < 0:
                raise ValueError("disk_reserve must be a number of bytes, at least 0")
            limits = LockLimits(positive(config, "locks_per_key", LOCKS_PER_KEY), positive(config, "locks", LOCKS))
            partial_days = positive(config, "partial_days", PARTIAL_DAYS)
        except (FileNotFoundError, NotADirectoryError):
            raise NotAStore(f"{shown} {NO_STORE}") from None
        except OSError as error:
            raise NotAStore(f"cannot read {shown}/p2pannex.toml: {error.strerror}") from error
        except ValueError as error:
            raise NotAStore(f"cannot use {shown}/p2pannex.toml: {error}") from error
        self.path = directory
        clock = clock or SystemClock()
        self._partial_sweep = PartialSweep(os.path.join(directory, b"annex", b"tmp"), partial_days * DAY, clock)
        annex = os.path.join(directory, b"annex")
        with suppress(OSError):  # stores of earlier versions; the next request reports what is wrong with the disk
            for name in WRITERS_ONLY:
                limit_to_writers(os.path.join(annex, name))
        exclusion = Exclusion(os.path.join(annex, b"exclusion"))
        with suppress(OSError):  # a store that can only be read needs no locks
            exclusion.require_locks()
        layout = DirectoryLayout(directory)
        super().__init__(
            uuid,
            layout,
            exclusion,
            Retention(os.path.join(annex, b"retention"), clock, boot=boot, limits=limits, share=layout.share),
            clock=clock,
            disk_reserve=disk_reserve,
            disk_work=disk_work,
        )

    @classmethod
    def create(
        cls, path: str | bytes | os.PathLike[str], *, uuid: str | None = None, disk_reserve: int = DISK_RESERVE
    ) -> DirectoryStore:
        """Make a store in `path`, a new or empty directory, and open it. RemoteError if that fails. It blocks."""
        directory = os.path.abspath(os.fsencode(path))
        shown = os.fsdecode(directory)
        uuid = new_uuid(uuid)
        with disk_errors(f"cannot make a store in {shown}"):
            found = directory
            while not os.path.isdir(found):
                found = os.path.dirname(found)
            os.makedirs(directory, exist_ok=True)
            if os.path.lexists(config_path(directory)):
                raise RemoteError(f"{shown} is already a p2pannex store")
            if os.listdir(directory):
                raise RemoteError(f"{shown} is not empty; name a new directory")
            try:
                _fill(directory, CONFIG_TEXT.format(uuid=uuid, disk_reserve=disk_reserve).encode())
                above = os.path.dirname(directory)
                run_blocking(names_durable(os.path.join(directory, b"annex"), min(found, above, key=len)))
            except BaseException:
                for name in (b"annex", b"p2pannex.toml"):
                    _remove_all(os.path.join(directory, name))  # so that the directory can be used for another try
                raise
        return cls(directory)

    def tokens_directory(self) -> bytes:
        """The directory of the tokens for clients that connect over sockets."""
        return self.path

    def keys(self) -> Iterator[Key]:
        """The keys whose content is present. The iterator reads directories as it goes, and blocks."""
        for key, _ in objects(self.layout.root):
            yield key

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        if self._partial_sweep.due:
            await trio.to_thread.run_sync(self._partial_sweep.sweep)
        return await super().put(key, file)

    def _tidy(self) -> None:
        super()._tidy()
        self._partial_sweep.sweep()

    def contents(self) -> Contents:
        """How much content the store has. It reads every directory, and blocks."""
        return count(self.layout.root, os.path.join(self.path, b"annex", b"tmp"))


def _fill(directory: bytes, config: bytes) -> None:
    for name in (b"objects", b"tmp", b"retention", b"exclusion"):
        os.makedirs(os.path.join(directory, b"annex", name))
    for name in WRITERS_ONLY:
        limit_to_writers(os.path.join(directory, b"annex", name))
    Exclusion(os.path.join(directory, b"annex", b"exclusion")).prepare()
    sharing = _sharing(directory)
    for path, _, files in os.walk(os.path.join(directory, b"annex")):
        for made in (path, *(os.path.join(path, name) for name in files)):
            sharing.share(made)
    # The configuration is written last, and atomically: a directory that has one is a complete store.
    replace_file(config_path(directory), config, mode=0o666)


def _remove_all(path: bytes) -> None:
    with suppress(OSError):
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
