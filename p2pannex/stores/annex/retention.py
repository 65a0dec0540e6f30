"""Promises to keep content of a git-annex repository: what git-annex goes by, and what is ours.

git-annex knows two things of a key, both beside its object. Who keeps it has ``KEYFILE.lck`` locked, shared; who
removes it, exclusively. And ``KEYFILE.rtm`` holds the POSIX time (``1234567890.5s``) until which it must not be
removed, should its keepers be lost; it is written with ``KEYFILE.rtl`` locked, and only grows. git-annex removes the
time when the last keeper lets go of the lock, whether or not the client said so.

That does not suffice for a promise which UNLOCKCONTENT alone may end (protocol-spec section 7): one time for several
promises does not tell which of them are left. So each of ours is a record of its own as well (`Retention`, below
``annex/p2pannex/retention``), the lock and the time are there for git-annex, and content is removed only if neither
git-annex's files nor our records stand against it. The time is taken away only

- by a release, after the exclusive lock was had: nobody else keeps the content now;
- where none of our records is left that counts: nobody was lost to whom we promised something;
- where it is a time of ours, which ``annex/p2pannex/written/KEYFILE`` tells; and
- where no earlier time that others wrote, and that ours took the place of, is still to come.

Everything here happens with the key's exclusion held, so that tasks and processes of ours do not meet.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from p2pannex.git_annex.layout import AnnexLayout
from p2pannex.keys.key import Key
from p2pannex.stores.annex.abandoned_locks import KeptLocks
from p2pannex.stores.annex.locks import KeyExclusion, LockFile
from p2pannex.stores.annex.retention_timestamps import TIMESTAMP_LOCK_TIMEOUT, AnnexTimes
from p2pannex.stores.files.retention import Record, Retention
from p2pannex.system.clock import Clock
from p2pannex.system.durability import directory_durable
from p2pannex.system.file_locks import Busy, wait_until
from p2pannex.system.fsync_batch import run_blocking


class AnnexRetentionRecord:
    """One promise, held by this process. Made by `AnnexRetention.record`."""

    def __init__(self, retention: AnnexRetention, key: Key, record: Record, lock: LockFile) -> None:
        self._retention = retention
        self._key = key
        self._record = record
        self._lock: LockFile | None = lock

    def release(self) -> None:
        """The holder has said that the content may be removed again."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        try:
            self._record.release()
            self._retention.withdraw(self._key, lock)
        except Busy:
            pass  # then the time in git-annex's file runs out by itself
        finally:
            lock.close()

    def abandon(self) -> None:
        """The holder is gone: the promise stays until its time is over."""
        lock, self._lock = self._lock, None
        if lock is not None:
            self._record.abandon()
            self._retention.kept.add(lock)


class AnnexRetention:
    """The promises of a repository."""

    def __init__(
        self,
        layout: AnnexLayout,
        exclusion: KeyExclusion,
        clock: Clock,
        *,
        boot: str | None = None,
    ) -> None:
        self._layout = layout
        self._exclusion = exclusion
        self._records_directory = os.path.join(layout.own, b"retention")
        self._records = Retention(self._records_directory, clock, boot=boot, share=layout.share)
        self._times = AnnexTimes(layout, clock)
        self.kept = KeptLocks(clock)

    def record(self, key: Key) -> AnnexRetentionRecord | None:
        """Promise to keep `key` for ten minutes from now, durably; None where it is being removed by git-annex."""
        self.kept.let_go()
        path = self._layout.find(key)
        directory = os.path.dirname(path)
        self._layout.make_directories(self._records_directory)
        self._times.prepare()
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
        except BaseException:
            lock.close()
            raise
        ours = AnnexRetentionRecord(self, key, record, lock)
        try:
            self._times.grow(key, path)
            run_blocking(directory_durable(directory))
        except BaseException:
            ours.abandon()
            raise
        finally:
            self._layout.freeze(directory)
        return ours

    @contextmanager
    def removing(self, key: Key, path: bytes, timeout: float) -> Iterator[bool]:
        """Whether nobody keeps `key`, so that it may be removed inside of the block.

        Meanwhile nobody can begin to keep it. When it was removed, so is what was recorded for it. While git-annex
        removes it, it is waited for, not longer than `TIMESTAMP_LOCK_TIMEOUT`; Busy where `timeout` is 0.
        """
        self.kept.let_go()
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
                if not self._layout.within(directory, lambda: self._clean_up(key, path, lock)):
                    self._layout.freeze(directory)
            except FileNotFoundError:
                pass  # the directory is gone
            finally:
                lock.close()

    def _exclusive_lock(self, path: bytes, timeout: float) -> LockFile | None:
        """The object's lock file, locked exclusively; None where somebody keeps the content."""
        directory, lock_path = os.path.dirname(path), path + b".lck"
        lock: LockFile | None = None

        def settled() -> bool:
            nonlocal lock
            lock = LockFile.take(lock_path, self._layout, exclusive=True)
            if lock is not None:
                return True
            shared = LockFile.take(lock_path, self._layout, exclusive=False)
            if shared is None:
                return False  # somebody else is removing it
            shared.close()
            return True

        try:
            wait_until(lambda: self._layout.within(directory, settled), timeout)
        except Busy:
            if not timeout:
                raise
        return lock

    def _clean_up(self, key: Key, path: bytes, lock: LockFile) -> bool:
        """Remove what stands beside an object, if that is gone, and the lock that is held exclusively. Whether it is
        gone."""
        gone = not os.path.lexists(path)
        if gone:
            self._times.forget(key, path)
        lock.remove()
        return gone

    def withdraw(self, key: Key, lock: LockFile) -> None:
        """A promise of ours, whose lock this is, has ended: tell git-annex, if no other one is left."""
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
        """The object's lock file, locked shared; None where the content is being removed, or is gone."""
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
