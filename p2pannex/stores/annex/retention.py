"""Locks on content of a git-annex repository: in git-annex's own files, and in retention records of p2pannex.

git-annex uses two files beside a key's object:

- ``KEYFILE.lck`` is a lock file. A process that has the content locked holds a shared lock on it; a process that is
  removing the content holds an exclusive one.
- ``KEYFILE.rtm`` contains a timestamp, as POSIX time (``1234567890.5s``). Before that time the content must not be
  removed, even if all processes that locked it are lost. It is written with ``KEYFILE.rtl`` locked, and never set back.
  git-annex removes the timestamp when the last shared lock is released, whether or not the client has sent
  UNLOCKCONTENT.

These are not enough, because only UNLOCKCONTENT may end a lock early (protocol-spec section 7). One timestamp for
several locks does not show which of them are still valid. So p2pannex also writes a retention record for each lock
(`Retention`, in ``annex/p2pannex/retention``). It takes the shared lock and writes the timestamp as well, for
git-annex. p2pannex removes content only if neither git-annex's files nor the retention records forbid it.

p2pannex removes the timestamp of content that stays only if all of these are true:

1. p2pannex has the exclusive lock, after a client has released its lock or the timestamp has expired: so no other
   process has the content locked.
2. No retention record is valid: so there is no lost client whose lock has not expired.
3. p2pannex wrote the timestamp, according to ``annex/p2pannex/written/KEYFILE``.
4. That timestamp did not replace an earlier one of another program that has not expired.

The caller of `AnnexRetention.record` and `AnnexRetention.removing` holds the key's exclusion; a release and a sweep
take it to remove the timestamp. So tasks and processes of p2pannex do not change these files at the same time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import trio

from p2pannex.errors import RemoteError
from p2pannex.git_annex.layout import AnnexLayout
from p2pannex.keys.key import Key
from p2pannex.stores.annex.abandoned_locks import AbandonedLocks
from p2pannex.stores.annex.locks import KeyExclusion, LockFile
from p2pannex.stores.annex.retention_timestamps import TIMESTAMP_LOCK_TIMEOUT, AnnexTimes
from p2pannex.stores.files.retention import LockLimits, Retention
from p2pannex.stores.files.retention_record import Record
from p2pannex.system.clock import Clock
from p2pannex.system.durability import names_durable
from p2pannex.system.file_locks import KERNEL_LOCKS, Busy, wait_until
from p2pannex.system.fsync_batch import run_blocking

SWEEP_INTERVAL = 60.0
"""Seconds between two sweeps of a store that serves clients all the time, if the last one found nothing."""

SWEEP_PAUSE = 1.0
"""Seconds between two sweeps otherwise."""


class AnnexRetentionRecord:
    """The record of one lock, which a client of this process holds. Made by `AnnexRetention.record`."""

    def __init__(self, retention: AnnexRetention, key: Key, path: bytes, record: Record, lock: LockFile) -> None:
        self._retention = retention
        self._path = path
        self._key = key
        self._record = record
        self._lock: LockFile | None = lock

    def release(self) -> None:
        """End the lock: the client has unlocked the content. It takes the key's exclusion itself."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        try:
            self._record.release()
            self._retention.withdraw(self._key, lock)
        except Busy:
            pass  # git-annex's timestamp stays, and expires
        finally:
            lock.close()
            self._retention.abandoned.leave(self._path)

    def abandon(self) -> None:
        """Leave the record until it expires: the client is lost."""
        lock, self._lock = self._lock, None
        if lock is not None:
            self._record.abandon()
            self._retention.abandon(self._path, lock)


class AnnexRetention:
    """The locks on content of a repository. `clock`, `boot` and `limits` are as for `Retention`."""

    def __init__(
        self,
        layout: AnnexLayout,
        exclusion: KeyExclusion,
        clock: Clock,
        *,
        boot: str | None = None,
        limits: LockLimits | None = None,
    ) -> None:
        self._layout = layout
        self._exclusion = exclusion
        self._records_directory = os.path.join(layout.own, b"retention")
        self._records = Retention(
            self._records_directory, clock, boot=boot, share=layout.share, locks=layout.locks, limits=limits
        )
        self._times = AnnexTimes(layout, clock)
        self._prepared = False
        self.abandoned = AbandonedLocks(clock)

    def record(self, key: Key) -> AnnexRetentionRecord | None:
        """Lock `key` durably, for at least ten minutes from now unless it is released.

        None if the content is not present, or another program is removing it. NotLocked if too much is locked.
        """
        path = self._layout.find(key)
        self.abandoned.enter(path)
        record = None
        try:
            record = self._record(key, path)
        finally:
            if record is None:
                self.abandoned.leave(path)
        return record

    def _record(self, key: Key, path: bytes) -> AnnexRetentionRecord | None:
        directory = os.path.dirname(path)
        self._prepare()
        lock = self._shared_lock(path)
        if lock is None:
            return None
        try:
            if not os.path.lexists(path):
                if lock.upgrade():
                    lock.remove()
                    self._layout.remove_empty(directory)
                lock.close()
                return None
            record = self._records.record(key)
            try:
                self._times.grow(key, path)
            except BaseException:
                with suppress(OSError):
                    record.release()
                raise
        except BaseException:
            lock.close()
            raise
        finally:
            with suppress(OSError):  # a directory that stays writable is no reason to refuse the lock
                self._layout.freeze(directory)
        return AnnexRetentionRecord(self, key, path, record, lock)

    def _prepare(self) -> None:
        """Make the directories of records and timestamps. The names of the former are made durable, up to the git
        directory: another process may have made them, and have been killed before it could fsync."""
        made = self._layout.make_directories(self._records_directory)
        self._times.prepare()
        if made or not self._prepared:
            run_blocking(names_durable(self._records_directory, os.path.dirname(self._layout.annex)))
            self._prepared = True

    def sweep(self) -> bool:
        """Remove some records, and some timestamps, that have expired. Whether there were any. It does not raise."""
        removed = self._records.sweep()
        self.abandoned.release_expired()
        for key in self._times.some_expired():
            with suppress(OSError, RemoteError), self._exclusion.hold(key, 0):
                removed |= self._sweep_timestamp(key)
        return removed

    def _sweep_timestamp(self, key: Key) -> bool:
        """Remove a timestamp that has expired, unless a process has the content locked. The caller holds the exclusion.

        A process that renews the timestamp, p2pannex or git-annex-shell, has ``KEYFILE.lck`` locked meanwhile, shared.
        So with that file locked exclusively, the timestamp that is read is the one that is removed.
        """
        if self._records.is_retained(key):
            return False
        path = self._layout.find(key)
        directory = os.path.dirname(path)
        try:
            lock = self._exclusive_lock(path, 0)
        except FileNotFoundError:
            return self._times.sweep(key, path)  # the directory is gone, and the content with it
        try:
            return lock is not None and self._layout.within(directory, lambda: self._sweep_locked(key, path, lock))
        finally:
            if lock is not None:
                lock.close()
            self._layout.remove_empty(directory)

    def _sweep_locked(self, key: Key, path: bytes, lock: LockFile) -> bool:
        swept = self._times.sweep(key, path)
        lock.remove()
        return swept

    async def sweep_regularly(self) -> None:
        """Sweep every `SWEEP_INTERVAL` seconds, and again soon while there is something to remove, until
        cancelled. Without this task, records are swept by locks and removals, and timestamps when the store is closed.
        """
        removed = False
        while True:
            await trio.sleep(SWEEP_PAUSE if removed else SWEEP_INTERVAL)
            removed = await trio.to_thread.run_sync(self.sweep)

    def abandon(self, path: bytes, lock: LockFile) -> None:
        """Keep the lock of a lost client locked, unless that would lock the whole repository (annex.pidlock)."""
        if self._layout.locks is KERNEL_LOCKS:
            self.abandoned.add(path, lock)
        else:
            lock.close()
            self.abandoned.leave(path)

    @contextmanager
    def removing(self, key: Key, path: bytes, timeout: float) -> Iterator[bool]:
        """Yields whether no lock on `key` is valid, so that the content may be removed in the block.

        No lock can be taken during the block. If the block removes the content, git-annex's files beside the object are
        removed too. If another program is removing the content, this waits for it, at most `TIMESTAMP_LOCK_TIMEOUT`
        seconds. If `timeout` is 0, it raises Busy instead.
        """
        self.abandoned.release_expired()
        self._records.sweep_now_and_then()
        if self._records.is_retained(key):
            yield False
            return
        directory = os.path.dirname(path)
        try:
            lock = self._exclusive_lock(path, min(timeout, TIMESTAMP_LOCK_TIMEOUT))
        except FileNotFoundError:
            yield True  # the directory is gone, and the content with it
            return
        if lock is None:
            self._layout.freeze(directory)
            yield False
            return
        try:
            yield not self._times.unexpired(path)
        finally:
            try:
                # An error here must not hide that the content is gone. What is left protects nothing that is there.
                with suppress(OSError):
                    if not self._layout.within(directory, lambda: self._clean_up(key, path, lock)):
                        self._layout.freeze(directory)
            finally:
                lock.close()

    def _exclusive_lock(self, path: bytes, timeout: float) -> LockFile | None:
        """Lock the object's lock file exclusively. None if a process has the content locked."""
        directory, lock_path = os.path.dirname(path), path + b".lck"
        lock: LockFile | None = None

        def decided() -> bool:
            nonlocal lock
            lock = LockFile.take(lock_path, self._layout, exclusive=True)
            if lock is not None:
                return True
            shared = LockFile.take(lock_path, self._layout, exclusive=False)
            if shared is None:
                return False  # another program has an exclusive lock: it is removing the content
            shared.close()
            return True

        try:
            wait_until(lambda: self._layout.within(directory, decided), timeout)
        except Busy:
            if not timeout:
                raise
        return lock

    def _clean_up(self, key: Key, path: bytes, lock: LockFile) -> bool:
        """Remove the lock file, which is locked exclusively, and if the object is gone, the other files beside it.

        Returns whether the object is gone.
        """
        gone = not os.path.lexists(path)
        if gone:
            self._times.forget(key, path)
        lock.remove()
        return gone

    def withdraw(self, key: Key, lock: LockFile) -> None:
        """Remove git-annex's timestamp after a release, if no other lock is left. `lock` is the released one's."""
        with self._exclusion.hold(key):
            if not lock.upgrade() or self._records.is_retained(key):
                return
            path = self._layout.find(key)
            directory = os.path.dirname(path)
            try:
                self._layout.within(directory, lambda: self._forget(key, path, lock))
                self._layout.freeze(directory)
            except FileNotFoundError:
                pass  # the directory is gone

    def _forget(self, key: Key, path: bytes, lock: LockFile) -> None:
        self._times.withdraw(key, path)
        lock.remove()

    def _shared_lock(self, path: bytes) -> LockFile | None:
        """Lock the object's lock file, shared. None if another program is removing the content, or it is gone."""
        deadline = time.monotonic() + TIMESTAMP_LOCK_TIMEOUT
        while True:
            try:
                lock = self._layout.within(
                    os.path.dirname(path), lambda: LockFile.take(path + b".lck", self._layout, exclusive=False)
                )
            except FileNotFoundError:
                return None
            if lock is not None or time.monotonic() > deadline:
                return lock
            time.sleep(0.005)
