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

import errno
import os
import stat
from collections.abc import Collection
from contextlib import suppress
from enum import Enum

import trio

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Download, Lock, Removal, Service, Upload
from p2pannex.stores.files.cleanup import PendingCleanup
from p2pannex.stores.files.downloads import Nothing, ObjectDownload
from p2pannex.stores.files.interfaces import Exclusive, Layout, RetentionRecord, RetentionRecords
from p2pannex.stores.files.upload_wait import UploadWait
from p2pannex.stores.files.uploads import Claim, NoClaim, ObjectUpload
from p2pannex.system.clock import Clock
from p2pannex.system.disk_errors import disk_errors, explained
from p2pannex.system.disk_work import DiskWork, InThreads
from p2pannex.system.durability import names_durable
from p2pannex.system.file_locks import LOCK_TIMEOUT, Busy
from p2pannex.system.fsync_batch import Fsyncs, run_blocking

NAME_MAX = 255
"""Bytes of the longest file name: longer keys cannot be here."""

QUICKLY_REMOVED = 16 << 20
"""Bytes of content up to which a file system frees a file at once, so that it can be removed on the loop."""


class Outcome(Enum):
    """What became of content that was to be removed."""

    KEPT = "kept"
    REMOVED = "removed"
    ABSENT = "absent"


class ObjectStore(Service):
    """A Service over files. Subclasses give it a layout, the exclusion, and the records of what was promised.

    `disk_work` says how it waits for the disk; `InThreads` if None.
    """

    def __init__(
        self,
        uuid: str,
        layout: Layout,
        exclusive: Exclusive,
        retention: RetentionRecords,
        *,
        clock: Clock,
        disk_reserve: int,
        disk_work: DiskWork | None = None,
    ) -> None:
        self.uuid = uuid
        self.layout = layout
        self.clock = clock
        self.disk_reserve = disk_reserve
        self.disk_work = (disk_work or InThreads()).for_store()
        self._exclusion = exclusive
        self._retention = retention
        self._pending_cleanup = PendingCleanup(layout.root, exclusive)

    async def check_present(self, key: Key) -> bool:
        await trio.lowlevel.checkpoint_if_cancelled()
        return self.present(key)

    def present(self, key: Key) -> bool:
        """Whether the object is there, with the size that the key says: a shorter one was damaged by others."""
        for path in self.layout.places(key):
            try:
                status = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:
                return self._whole_object(key) is not None  # which can say why it cannot be told
            return _whole(key, status)
        return False

    def _whole_object(self, key: Key) -> bytes | None:
        """The path of the object, where it is present."""
        found = self._find(key, doing="cannot look for the content")
        return found[0] if found is not None and _whole(key, found[1]) else None

    def _find(self, key: Key, *, doing: str) -> tuple[bytes, os.stat_result] | None:
        """Where the key's object is, and what it is."""
        for path in self.layout.places(key):
            try:
                return path, os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                if len(key.file_name) > NAME_MAX:
                    return None
                raise explained(error, doing) from error
        return None

    async def timestamp(self) -> int:
        await trio.lowlevel.checkpoint_if_cancelled()
        return int(self.clock.monotonic())

    # Locking and removing ---------------------------------------------------------------------------------------

    async def lock(self, key: Key) -> Lock | None:
        if not await self.check_present(key):
            return None
        record = await self.disk_work.run(self._lock, key)
        return None if record is None else _ObjectLock(self, record)

    def _lock(self, key: Key) -> RetentionRecord | None:
        with disk_errors("cannot lock the content"), self._exclusion.hold(key):
            path = self._whole_object(key)
            if path is None:
                return None
            try:
                run_blocking(self._durable(path))
            except FileNotFoundError:
                return None  # another program, which knows nothing of our exclusion, has just removed it
            return self._retention.record(key)

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        await trio.lowlevel.checkpoint_if_cancelled()
        self.prefetch_log(key)
        outcome = None
        if key.size is not None and key.size <= QUICKLY_REMOVED:
            try:
                outcome = self._remove(key, before, timeout=0)
            except Busy:
                pass  # then wait for the others in a thread
        if outcome is None:
            outcome = await trio.to_thread.run_sync(self._remove, key, before)
        if outcome is Outcome.REMOVED:
            await self.changed(key, False)
        if self._pending_cleanup.is_full:
            await trio.to_thread.run_sync(self._pending_cleanup.tidy)
        return Removal(outcome is not Outcome.KEPT)

    def _remove(self, key: Key, before: int | None, timeout: float = LOCK_TIMEOUT) -> Outcome:
        found = self._find(key, doing="cannot remove the content")
        if found is None:
            return Outcome.ABSENT
        path = found[0]
        # With the exclusion held no lock can be recorded, and no content stored, until this is over.
        with (
            disk_errors("cannot remove the content"),
            self._exclusion.hold(key, timeout),
            self._retention.removing(key, path, timeout) as free,
        ):
            if not free:
                return Outcome.KEPT
            self._pending_cleanup.add(key, os.path.dirname(path))
            # The deadline comes last: waiting for the exclusion, and for the look at the records, may have taken any
            # time. Between this line and the unlink there is nothing that waits.
            if before is not None and int(self.clock.monotonic()) >= before:
                return Outcome.KEPT
            try:
                self.layout.discard(path)
            except FileNotFoundError:
                return Outcome.ABSENT
            return Outcome.REMOVED

    def prefetch_log(self, key: Key) -> None:
        """`changed` will probably be called for the key: where a log is kept, it may be looked up now."""

    async def changed(self, key: Key, present: bool) -> None:
        """Content was stored or removed: where a log is kept of that, it is written before anybody is told."""

    async def aclose(self) -> None:
        """Leave the directory tidy."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._pending_cleanup.tidy)

    # Storing ----------------------------------------------------------------------------------------------------

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        await trio.lowlevel.checkpoint_if_cancelled()
        if len(key.file_name) > NAME_MAX:
            raise RemoteError("the key's name is too long for a file name")
        wait = UploadWait()
        while True:
            if self.present(key) and await self.disk_work.run(self._surely_present, key):
                return AlreadyHave()
            with disk_errors("cannot begin to store the content"):
                upload = ObjectUpload.open(self, key)
            if upload is not None:
                if not self.present(key):
                    self.prefetch_log(key)
                    return upload
                upload.close()  # the one who had it locked has just finished
            else:
                wait.require()
            await wait.pause()

    def claim(self, key: Key) -> Claim | None:
        """The right to receive the content, which the upload gives back; None while another program has it."""
        return NoClaim()

    def _surely_present(self, key: Key) -> bool:
        """Whether the content is here to stay. ALREADY-HAVE is a word on which clients delete their copy, and the
        object may have been renamed into place a moment ago by somebody who was then killed."""
        with disk_errors("cannot look for the content"), self._exclusion.hold(key):
            path = self._whole_object(key)
            if path is None:
                return False
            try:
                run_blocking(self._durable(path))
            except FileNotFoundError:
                return False  # another program, which knows nothing of our exclusion, has just removed it
            return True

    def _durable(self, path: bytes, made: Collection[bytes] = ()) -> Fsyncs[None]:
        """Let the name of the object, and those of its directories, survive. `made` are those just made by us: the
        exclusion keeps others of us from fsyncing them meanwhile."""
        return names_durable(os.path.dirname(path), self.layout.root, made)

    def commit(self, key: Key, partial: bytes, fd: int) -> Fsyncs[None]:
        """Put verified, fsynced content in its place, for good. Called by the upload that has it locked."""
        with self._exclusion.hold(key):
            path = self.layout.find(key)
            made = self.layout.install(partial, path)
            try:
                self.layout.protect(fd, path)
                yield from self._durable(path, made)
            except OSError as error:
                if isinstance(error, FileNotFoundError) and not os.path.lexists(path):
                    raise RemoteError("the content was removed by others as soon as it was here") from error
                with suppress(FileNotFoundError):
                    self.layout.discard(path)  # nobody can say any more whether it would survive
                raise

    # Reading ----------------------------------------------------------------------------------------------------

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        await trio.lowlevel.checkpoint_if_cancelled()
        with disk_errors("cannot read the content"):
            for path in self.layout.places(key):
                try:
                    # What is no file is not waited for.
                    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                except OSError as error:
                    if error.errno == errno.ELOOP or len(key.file_name) > NAME_MAX:
                        break  # it is a link, which is no object; or it cannot be here
                    raise
                status = os.fstat(fd)
                if _whole(key, status):
                    return ObjectDownload(fd, offset, status)
                os.close(fd)
                break
        return Nothing()


class _ObjectLock(Lock):
    def __init__(self, store: ObjectStore, record: RetentionRecord) -> None:
        self._store = store
        self._record = record

    async def release(self) -> None:
        with trio.CancelScope(shield=True), disk_errors("cannot unlock the content"):
            await self._store.disk_work.run(self._record.release)

    async def aclose(self) -> None:
        self._record.abandon()
        await trio.lowlevel.checkpoint()


def _whole(key: Key, status: os.stat_result) -> bool:
    """Whether this is a file of the size that the key says."""
    size = key.size
    return stat.S_ISREG(status.st_mode) and (size is None or size == status.st_size)
