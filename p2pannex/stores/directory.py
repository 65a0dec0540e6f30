"""A store in a plain directory. No git is needed.

::

    DIR/p2pannex.toml                            its uuid and settings
    DIR/annex/objects/abc/def/KEYFILE/KEYFILE    content, in git-annex's layout of a bare repository
    DIR/annex/tmp/KEYFILE                        content that has not all arrived
    DIR/annex/retention/KEYFILE/...              what was promised to be kept, until when
    DIR/annex/exclusion/00 .. ff                 lock files

Any number of processes may serve one directory at the same time, on one machine and a local file system: the locks
are flock(2), and time is the machine's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.stores.directory_config import checked_uuid, config_path, new_uuid, read_config
from p2pannex.stores.files.exclusion import Exclusion
from p2pannex.stores.files.inventory import Contents, count, objects
from p2pannex.stores.files.objects import ObjectStore
from p2pannex.stores.files.retention import Retention
from p2pannex.system.clock import Clock, SystemClock
from p2pannex.system.disk_errors import disk_errors
from p2pannex.system.disk_work import DiskWork
from p2pannex.system.durability import make_directories, names_durable
from p2pannex.system.fsync_batch import run_blocking

DISK_RESERVE = 100_000_000
"""Bytes that are left free on the disk, unless set otherwise."""

CONFIG_TEXT = """\
# A p2pannex directory store. Its content lies below annex/, as git-annex lays out a bare repository.
uuid = "{uuid}"

# Bytes to leave free on the disk: an upload that would not is refused.
disk_reserve = {disk_reserve}
"""


class NotAStore(RemoteError):
    """The directory holds no directory store."""


class DirectoryLayout:
    """Where a directory store keeps its files."""

    def __init__(self, directory: bytes) -> None:
        self.root = os.path.join(directory, b"annex", b"objects")
        self._tmp = os.path.join(directory, b"annex", b"tmp")

    def places(self, key: Key) -> tuple[bytes]:
        return (self.find(key),)

    def find(self, key: Key) -> bytes:
        name = key.file_name
        return b"%b/%b/%b/%b" % (self.root, key.hashdir_lower, name, name)

    def partial(self, key: Key) -> bytes:
        return self._tmp + b"/" + key.file_name

    def prepare(self, path: bytes) -> bool:
        return False  # `create` has made it; a store without it is no whole one

    def install(self, partial: bytes, path: bytes) -> set[bytes]:
        made = make_directories(os.path.dirname(path))
        os.rename(partial, path)
        return made

    def protect(self, fd: int, path: bytes) -> None:
        os.fchmod(fd, 0o444)

    def discard(self, path: bytes) -> None:
        os.unlink(path)


class DirectoryStore(ObjectStore):
    """The store in the directory `path`, which `create` has made. NotAStore where there is none.

    `disk_work` says how the store waits for the disk (`p2pannex.system.disk_work`): in threads if None, which is right
    for any number of clients. `clock` and `boot` are for tests that skew time. Close it with `aclose`, or use it as an
    ``async with`` block: that removes directories that became empty.
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
                raise ValueError("disk_reserve is a number of bytes")
        except (FileNotFoundError, NotADirectoryError):
            raise NotAStore(f"{shown} is no p2pannex store; make one with: p2pannex init {shown}") from None
        except OSError as error:
            raise NotAStore(f"cannot read {shown}/p2pannex.toml: {error.strerror}") from error
        except ValueError as error:
            raise NotAStore(f"cannot use {shown}/p2pannex.toml: {error}") from error
        self.path = directory
        clock = clock or SystemClock()
        annex = os.path.join(directory, b"annex")
        super().__init__(
            uuid,
            DirectoryLayout(directory),
            Exclusion(os.path.join(annex, b"exclusion")),
            Retention(os.path.join(annex, b"retention"), clock, boot=boot),
            clock=clock,
            disk_reserve=disk_reserve,
            disk_work=disk_work,
        )

    @classmethod
    def create(
        cls, path: str | bytes | os.PathLike[str], *, uuid: str | None = None, disk_reserve: int = DISK_RESERVE
    ) -> DirectoryStore:
        """Make a store in `path`, a new or an empty directory. RemoteError where that cannot be done."""
        directory = os.path.abspath(os.fsencode(path))
        shown = os.fsdecode(directory)
        uuid = new_uuid(uuid)
        with disk_errors(f"cannot make a store in {shown}"):
            os.makedirs(directory, exist_ok=True)
            if os.path.lexists(config_path(directory)):
                raise RemoteError(f"{shown} is a p2pannex store already")
            if os.listdir(directory):
                raise RemoteError(f"{shown} is not empty; name a new directory")
            for name in (b"objects", b"tmp", b"retention", b"exclusion"):
                os.makedirs(os.path.join(directory, b"annex", name))
            Exclusion(os.path.join(directory, b"annex", b"exclusion")).prepare()
            # The configuration comes last, and whole: a directory that has one is a store.
            new = config_path(directory) + b".new"
            with open(new, "x") as file:
                file.write(CONFIG_TEXT.format(uuid=uuid, disk_reserve=disk_reserve))
                file.flush()
                os.fsync(file.fileno())
            os.rename(new, config_path(directory))
            run_blocking(names_durable(os.path.join(directory, b"annex"), os.path.dirname(directory)))
        return cls(directory)

    def tokens_directory(self) -> bytes:
        """Where the tokens of its sockets are kept."""
        return self.path

    def keys(self) -> Iterator[Key]:
        """The keys whose content is here. It reads directories as it goes, and blocks."""
        for key, _ in objects(self.layout.root):
            yield key

    def contents(self) -> Contents:
        """Count what is here. It reads every directory, and blocks."""
        return count(self.layout.root, os.path.join(self.path, b"annex", b"tmp"))
