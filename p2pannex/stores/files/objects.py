"""`ObjectStore`: a store that keeps content in files. The base of all stores on a file system.

**Storing.** An upload writes to a partial, a file that stays if the upload is interrupted, so that the next one resumes
from it. When the content is complete:

1. It is verified against the key.
2. The partial is fsynced.
3. It is renamed to the path of the key's object, and made read-only.
4. The directories on that path are fsynced.
5. The upload is reported as stored.

So at any moment, and after a crash at any moment, a key's object file is either absent, or complete and verified:

- Only step 3 makes an object, of a file whose bytes were verified and are on disk.
- Only one upload at a time writes to a partial: it has the file locked (`uploads.py`). So no other upload still writes
  to a file that has become an object.
- Step 3 is done only if the file at the partial's path is still the one that was verified (`commit`).

**Removing.** Only `_remove` removes content. It holds the key's exclusion, checks that no lock on the content is valid,
and checks the deadline immediately before the unlink.

**Cancellation.** Each change of a key's content is one function that runs without interruption, in a worker thread if
it may take long. A cancelled task waits for it. So either the old or the new state is left. What only reads metadata
runs on the event loop.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from enum import Enum

import trio

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import LOCKED, TOO_LATE, AlreadyHave, Download, Lock, NotLocked, Removal, Service, Upload
from p2pannex.stores.files.cleanup import PendingCleanup
from p2pannex.stores.files.downloads import open_download
from p2pannex.stores.files.interfaces import Exclusive, Layout, RetentionRecord, RetentionRecords
from p2pannex.stores.files.lookup import NAME_MAX as NAME_MAX
from p2pannex.stores.files.lookup import find, is_whole, look
from p2pannex.stores.files.partials import Claim, NoClaim
from p2pannex.stores.files.upload_wait import UploadWait
from p2pannex.stores.files.uploads import ObjectUpload
from p2pannex.stores.files.vouching import Finding, Verified, Vouching
from p2pannex.system.clock import Clock
from p2pannex.system.disk_errors import disk_errors
from p2pannex.system.disk_work import DiskWork, InThreads
from p2pannex.system.durability import names_durable
from p2pannex.system.file_locks import LOCK_TIMEOUT, Busy, is_at
from p2pannex.system.fsync_batch import Fsyncs, run_blocking

QUICKLY_REMOVED = 16 << 20
"""Bytes of the largest content that is removed on the event loop. A file system frees files up to that size quickly."""


class Outcome(Enum):
    """The outcome of a removal."""

    LOCKED = "locked"
    TOO_LATE = "too late"
    REMOVED = "removed"
    ABSENT = "absent"


_REASONS = {Outcome.LOCKED: LOCKED, Outcome.TOO_LATE: TOO_LATE}


class ObjectStore(Service):
    """A Service that keeps content in files. A subclass provides the layout, the exclusion and the retention records.

    clock: the clock of timestamps and deadlines.
    disk_reserve: bytes to leave free on the disk.
    disk_work: how the store waits for the disk; `InThreads` if None.
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
        self._vouching = Vouching(layout, exclusive, self.disk_work, self._pending_cleanup, self._quarantined)

    async def check_present(self, key: Key) -> bool:
        await trio.lowlevel.checkpoint_if_cancelled()
        return await self._vouched(key) is not None

    async def _vouched(self, key: Key) -> os.stat_result | None:
        """The status of the object if the store vouches for it, after it was verified if need be; otherwise None."""
        status = look(self.layout, key)
        if status is None or self._vouching.protected(status):
            return status
        return await self._vouching.vouched(key, status)

    def present(self, key: Key) -> bool:
        """Whether the object exists and has the key's size. Another size means that another program has damaged it.

        This does not vouch for the content: see `check_present`.
        """
        return look(self.layout, key) is not None

    def _same_object(self, key: Key, vouched: os.stat_result) -> bytes | None:
        """The path of the object if it is still the one that was vouched for, or protected; otherwise None."""
        found = find(self.layout, key, doing="cannot look for the content")
        if found is None or not is_whole(key, found[1]) or not self._vouching.same(vouched, found[1]):
            return None
        return found[0]

    async def verify(self, key: Key) -> bool:
        return (await self.verify_object(key)).finding is Finding.GOOD

    async def verify_object(self, key: Key) -> Verified:
        """Verify the content of one key at rest, whatever is known about it. See `Vouching.verify`."""
        return await self._vouching.verify(key)

    async def _quarantined(self, key: Key, present: bool) -> None:
        await self.changed(key, present)

    async def timestamp(self) -> int:
        await trio.lowlevel.checkpoint_if_cancelled()
        return int(self.clock.monotonic())

    # Locking and removing ---------------------------------------------------------------------------------------

    async def lock(self, key: Key) -> Lock:
        await trio.lowlevel.checkpoint_if_cancelled()
        vouched = await self._vouched(key)
        if vouched is None:
            raise NotLocked(f"{key} is not present")
        return _ObjectLock(self, await self.disk_work.run(self._lock, key, vouched))

    def _lock(self, key: Key, vouched: os.stat_result) -> RetentionRecord:
        with disk_errors("cannot lock the content"), self._exclusion.hold(key):
            path = self._same_object(key, vouched)
            if path is None:
                raise NotLocked(f"{key} is not present")
            try:
                run_blocking(self._durable(path))
            except FileNotFoundError:
                raise NotLocked(f"another program has just removed {key}") from None  # it does not take our exclusion
            record = self._retention.record(key)
            if record is None:
                raise NotLocked(f"another program is removing {key}")
            return record

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        await trio.lowlevel.checkpoint_if_cancelled()
        self.prefetch_log(key)
        outcome = None
        if key.size is not None and key.size <= QUICKLY_REMOVED and self.layout.removes_quickly:
            try:
                outcome = self._remove(key, before, timeout=0)
            except Busy:
                pass  # then wait in a thread until the lock is free
        if outcome is None:
            outcome = await trio.to_thread.run_sync(self._remove, key, before)
        if outcome is Outcome.REMOVED:
            await self.changed(key, False)
        elif outcome is Outcome.ABSENT:
            await self.unchanged(key, False)
        if self._pending_cleanup.is_full:
            await trio.to_thread.run_sync(self._pending_cleanup.tidy)
        reason = _REASONS.get(outcome, "")
        return Removal(not reason, reason=reason)

    def _remove(self, key: Key, before: int | None, timeout: float = LOCK_TIMEOUT) -> Outcome:
        found = find(self.layout, key, doing="cannot remove the content")
        if found is None:
            return Outcome.ABSENT
        self.require_log(key, False)
        path = found[0]
        # While the exclusion is held, no lock can be recorded and no content stored.
        with (
            disk_errors("cannot remove the content"),
            self._exclusion.hold(key, timeout),
            self._retention.removing(key, path, timeout) as free,
        ):
            if not free:
                return Outcome.LOCKED
            self._pending_cleanup.add(key, os.path.dirname(path))
            with self.layout.removable(path):
                # The deadline is checked last, because waiting for the exclusion, reading the records, and the owner's
                # commands may have taken any time. Nothing between this check and the unlink waits.
                if before is not None and int(self.clock.monotonic()) >= before:
                    return Outcome.TOO_LATE
                try:
                    self.layout.discard(path)
                except FileNotFoundError:
                    return Outcome.ABSENT
                return Outcome.REMOVED

    def prefetch_log(self, key: Key) -> None:
        """Called when `changed` will probably be called for the key. A store with a log may start to read it now."""

    def require_log(self, key: Key, present: bool) -> None:
        """Called before content is stored or removed. RemoteError if `changed` would fail, as far as that is known."""

    async def unchanged(self, key: Key, present: bool) -> None:
        """Called before it is reported that content was stored, or removed, already. A store with a log corrects it: an
        earlier request may have changed the content, and failed to log that."""

    async def changed(self, key: Key, present: bool) -> None:
        """Called after content was stored or removed, and before this is reported. A store with a log writes it now."""

    async def aclose(self) -> None:
        """Remove directories that have become empty, and some expired retention records."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._tidy)

    def _tidy(self) -> None:
        self._pending_cleanup.tidy()
        self._retention.sweep()

    # Storing ----------------------------------------------------------------------------------------------------

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        await trio.lowlevel.checkpoint_if_cancelled()
        if len(key.file_name) > NAME_MAX:
            raise RemoteError("the key's name is too long for a file name")
        wait = UploadWait()
        while True:
            vouched = await self._vouched(key)
            if vouched is not None and await self.disk_work.run(self._surely_present, key, vouched):
                await self.unchanged(key, True)
                return AlreadyHave()
            self.require_log(key, True)
            with disk_errors("cannot begin to store the content"):
                upload = ObjectUpload.open(self, key)
            if upload is not None:
                try:
                    present = await self.check_present(key)
                except BaseException:
                    upload.close()
                    raise
                if not present:
                    self.prefetch_log(key)
                    return upload
                upload.close()  # the upload that had it locked has just stored the content
            else:
                wait.require()
            await wait.pause()

    def claim(self, key: Key) -> Claim | None:
        """Claim the right to receive the content. None while another program has it. The upload releases the claim."""
        return NoClaim()

    def _surely_present(self, key: Key, vouched: os.stat_result) -> bool:
        """Whether the content is present, after its name was made durable.

        Clients may delete their copy after ALREADY-HAVE. The process that renamed the object into place may have been
        killed before it could fsync the directories.
        """
        with disk_errors("cannot look for the content"), self._exclusion.hold(key):
            path = self._same_object(key, vouched)
            if path is None:
                return False
            try:
                run_blocking(self._durable(path))
            except FileNotFoundError:
                return False  # another program, which does not take our exclusion, has just removed it
            return True

    def _durable(self, path: bytes, made: Collection[bytes] = ()) -> Fsyncs[None]:
        """Make the name of the object and those of its directories durable. The caller holds the key's exclusion.

        `made`: the directories that the caller has just made. The exclusion keeps other tasks and processes of p2pannex
        from fsyncing them meanwhile, which `names_durable` requires.
        """
        return names_durable(os.path.dirname(path), self.layout.root, made)

    def commit(self, key: Key, partial: bytes, fd: int) -> Fsyncs[None]:
        """Make verified, fsynced content the key's object, durably. The caller has the partial, `fd`, locked.

        Only the file that was verified becomes the object: `install` renames by path, so the file at that path must
        still be `fd`. Every upload and every sweep locks the file at the path of a partial before it removes or
        replaces it. We have that lock, so none does it between the check and the rename. A program that does not lock
        partials may have removed ours: `git annex setkey` does, and rm.
        """
        self.require_log(key, True)
        with self._exclusion.hold(key):
            path = self.layout.find(key)
            if not is_at(os.fstat(fd), partial):
                yield from self._stored_by_another(key, path)
                return
            made = self.layout.install(partial, path)
            try:
                self.layout.protect(fd, path)
                yield from self._durable(path, made)
            except OSError as error:
                if isinstance(error, FileNotFoundError) and not os.path.lexists(path):
                    raise RemoteError("another program removed the content as soon as it was stored") from error
                with suppress(FileNotFoundError):
                    self.layout.discard(path)  # after the error it is uncertain whether it would survive a crash
                raise

    def _stored_by_another(self, key: Key, path: bytes) -> Fsyncs[None]:
        """The partial is gone. RemoteError unless the program that removed it has stored the content itself."""
        status = look(self.layout, key)
        if status is not None and self._vouching.protected(status):
            with suppress(FileNotFoundError):
                yield from self._durable(path)
                return
        raise RemoteError("another program removed the partial file of this upload; send the content again")

    # Reading ----------------------------------------------------------------------------------------------------

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        await trio.lowlevel.checkpoint_if_cancelled()
        with disk_errors("cannot read the content"):
            return await open_download(self.layout, self._vouching, key, offset)


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
