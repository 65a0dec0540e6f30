"""Content in files: what every store on a file system has in common, whatever its layout and book-keeping.

An upload goes into a partial file, which stays when the upload is interrupted and is resumed from. Complete content is
verified against the key, fsynced, made read-only, renamed to its place, and the directories on the way are fsynced;
only then is it reported as stored. So at any moment, and after a crash at any moment, a key's object file is either
absent or complete and verified:

- the object's name only ever comes into being by that rename, of a file whose bytes were verified and are on disk;
- a partial is written by one upload at a time, which has it locked (`uploads.py`); so nobody writes to a file that
  has become an object.

And content that is there is removed in one place, `_remove`, with the key's exclusion held, after asking whether it
was promised to anybody, and with the deadline checked immediately before the unlink.

Whatever changes a key's content is one uninterrupted function, in a worker thread where it may take long: a task that
is cancelled waits for it, and leaves either the old or the new state. What only touches metadata stays on the loop.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Protocol, TypeVar

import trio

from p2pannex.keys import Key
from p2pannex.protocol.errors import RemoteError
from p2pannex.service import AlreadyHave, Clock, Download, Lock, Removal, Service, Upload
from p2pannex.stores import exclusion
from p2pannex.stores.disk_errors import disk_errors, explained
from p2pannex.stores.downloads import Nothing, ObjectDownload
from p2pannex.stores.durability import fsync_up
from p2pannex.stores.exclusion import Busy, Exclusion
from p2pannex.stores.retention import Record, Retention
from p2pannex.stores.uploads import ObjectUpload

T = TypeVar("T")

NAME_MAX = 255
"""Bytes of the longest file name: longer keys cannot be here."""

QUICKLY_REMOVED = 16 << 20
"""Bytes of content up to which a file system frees a file at once, so that it can be removed on the loop."""

UNTIDY = 16
"""Removals whose empty directories are left for later, all at once."""

BUSY_TIMEOUT = 10.0
"""Seconds that a second upload of a key waits for the first to end."""


class Layout(Protocol):
    """Where a store keeps its files. Paths are made from a key's escaped file name only."""

    root: bytes
    """The directory in which objects lie, at some depth; it and what lies above it are never removed."""

    def find(self, key: Key) -> bytes:
        """The path of the key's object, or the one that it would have."""
        ...

    def partial(self, key: Key) -> bytes:
        """The path of the key's partial content."""
        ...


class ObjectStore(Service):
    """A Service over files. Subclasses give it a layout, the exclusion, and the records of what was promised.

    `single_client` says that this process serves one client and no other, as p2pannex-shell does.
    """

    def __init__(
        self,
        uuid: str,
        layout: Layout,
        exclusive: Exclusion,
        retention: Retention,
        *,
        clock: Clock,
        disk_reserve: int,
        single_client: bool = False,
    ) -> None:
        self.uuid = uuid
        self.layout = layout
        self.clock = clock
        self.disk_reserve = disk_reserve
        self.single_client = single_client
        self._exclusion = exclusive
        self._retention = retention
        self._untidy: list[Key] = []

    async def check_present(self, key: Key) -> bool:
        await trio.lowlevel.checkpoint_if_cancelled()
        return self.present(key)

    def present(self, key: Key) -> bool:
        """Whether the object is there, with the size that the key says: a shorter one was damaged by others."""
        try:
            status = os.stat(self.layout.find(key), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            if len(key.file_name) > NAME_MAX:
                return False
            raise explained(error, "cannot look for the content") from error
        size = key.size
        return stat.S_ISREG(status.st_mode) and (size is None or size == status.st_size)

    async def briefly(self, function: Callable[..., T], *arguments: object) -> T:
        """Run disk work of some milliseconds: in a thread, so that other clients need not wait for it; or, where
        there are none, at once, because the two changes of thread would take as long as the work."""
        if self.single_client:
            await trio.lowlevel.checkpoint_if_cancelled()
            return function(*arguments)
        return await trio.to_thread.run_sync(function, *arguments)

    async def timestamp(self) -> int:
        await trio.lowlevel.checkpoint_if_cancelled()
        return int(self.clock.monotonic())

    # Locking and removing ---------------------------------------------------------------------------------------

    async def lock(self, key: Key) -> Lock | None:
        if not await self.check_present(key):
            return None
        record = await self.briefly(self._lock, key)
        return None if record is None else _ObjectLock(record)

    def _lock(self, key: Key) -> Record | None:
        with disk_errors("cannot lock the content"), self._exclusion.hold(key):
            if not self.present(key):
                return None
            self._make_durable(key)
            return self._retention.record(key)

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        await trio.lowlevel.checkpoint_if_cancelled()
        removed = None
        if key.size is not None and key.size <= QUICKLY_REMOVED:
            try:
                removed = self._remove(key, before, timeout=0)
            except Busy:
                pass  # then wait for the others in a thread
        if removed is None:
            removed = await trio.to_thread.run_sync(self._remove, key, before)
        if len(self._untidy) >= UNTIDY:
            await trio.to_thread.run_sync(self._tidy)
        return Removal(removed)

    def _remove(self, key: Key, before: int | None, timeout: float = exclusion.TIMEOUT) -> bool:
        path = self.layout.find(key)
        with disk_errors("cannot remove the content"):
            try:
                os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                return True
            except OSError:
                if len(key.file_name) > NAME_MAX:
                    return True
                raise
            # With the exclusion held no lock can be recorded, and no content stored, until this is over.
            with self._exclusion.hold(key, timeout):
                if self._retention.held(key):
                    return False
                # The deadline comes last: waiting for the exclusion, and for the look at the records, may have
                # taken any time. Between this line and the unlink there is nothing that waits.
                if before is not None and int(self.clock.monotonic()) >= before:
                    return False
                try:
                    os.unlink(path)
                except FileNotFoundError:
                    return True
                self._untidy.append(key)
                return True

    def _tidy(self) -> None:
        """Remove the directories that removals have left empty. It takes longer than the removals: some at a time."""
        while self._untidy:
            key = self._untidy.pop()
            path = os.path.dirname(self.layout.find(key))
            try:
                with self._exclusion.hold(key):
                    while path != self.layout.root:
                        os.rmdir(path)
                        path = os.path.dirname(path)
            except (OSError, Busy):
                continue  # not empty any more, or somebody else was here: nothing that matters to anybody

    async def aclose(self) -> None:
        """Leave the directory tidy."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._tidy)

    # Storing ----------------------------------------------------------------------------------------------------

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        await trio.lowlevel.checkpoint_if_cancelled()
        if len(key.file_name) > NAME_MAX:
            raise RemoteError("the key's name is too long for a file name")
        deadline = trio.current_time() + BUSY_TIMEOUT
        pause = 0.01
        while True:
            if self.present(key) and await self.briefly(self._surely_present, key):
                return AlreadyHave()
            with disk_errors("cannot begin to store the content"):
                upload = ObjectUpload.open(self, key)
            if upload is not None:
                if not self.present(key):
                    return upload
                upload.close()  # the one who had it locked has just finished
            elif trio.current_time() > deadline:
                raise RemoteError("another upload of this key is in progress; try again when it is done")
            await trio.sleep(pause)
            pause = min(2 * pause, 0.2)

    def _surely_present(self, key: Key) -> bool:
        """Whether the content is here to stay. ALREADY-HAVE is a word on which clients delete their copy, and the
        object may have been renamed into place a moment ago by somebody who was then killed."""
        with disk_errors("cannot look for the content"), self._exclusion.hold(key):
            if self.present(key):
                self._make_durable(key)
                return True
            return False

    def _make_durable(self, key: Key) -> None:
        fsync_up(os.path.dirname(self.layout.find(key)), self.layout.root)

    def commit(self, key: Key, partial: bytes, fd: int) -> None:
        """Put verified, fsynced content in its place, for good. Blocks; called by the upload that has it locked."""
        path = self.layout.find(key)
        with self._exclusion.hold(key):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.rename(partial, path)
            try:
                os.fchmod(fd, 0o444)
                self._make_durable(key)
            except OSError:
                os.unlink(path)  # nobody can say any more whether it would survive
                raise

    # Reading ----------------------------------------------------------------------------------------------------

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self.present(key):
            return Nothing()
        with disk_errors("cannot read the content"):
            try:
                fd = os.open(self.layout.find(key), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                return Nothing()
            return ObjectDownload(fd, offset)


class _ObjectLock(Lock):
    def __init__(self, record: Record) -> None:
        self._record = record

    async def release(self) -> None:
        self._record.release()
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self._record.abandon()
        await trio.lowlevel.checkpoint()
