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

import fcntl
import os
import re
import secrets
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from p2pannex.keys import Key
from p2pannex.service import RETENTION, Clock
from p2pannex.stores.annex_layout import AnnexLayout
from p2pannex.stores.annex_locks import KeyExclusion, LockFile, try_range
from p2pannex.stores.durability import fsync_directory
from p2pannex.stores.exclusion import Busy, wait_until
from p2pannex.stores.retention import Record, Retention

PATIENCE = 1.0
"""Seconds for which a lock is tried: git-annex has it exclusively for a moment when it lets go of its own."""

KEPT_LOCKS = 256
"""Locks of lost clients that are held at most: each is an open file."""

_TIME = re.compile(rb"(\d{1,18}(?:\.\d+)?)s\s*")


class AnnexPromise:
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
            self._retention.keep(lock)


class AnnexRetention:
    """The promises of a repository."""

    def __init__(self, layout: AnnexLayout, exclusion: KeyExclusion, clock: Clock, *, boot: str | None = None) -> None:
        self._layout = layout
        self._exclusion = exclusion
        self._clock = clock
        self._records_directory = os.path.join(layout.own, b"retention")
        self._written_directory = os.path.join(layout.own, b"written")
        self._kept: deque[tuple[float, LockFile]] = deque()
        self._news = trio.Event()
        self._records = Retention(self._records_directory, clock, boot=boot, share=layout.share)

    def record(self, key: Key) -> AnnexPromise | None:
        """Promise to keep `key` for ten minutes from now, durably; None where it is being removed by git-annex."""
        self._let_go()
        path = self._layout.find(key)
        directory = os.path.dirname(path)
        self._layout.make_directories(self._records_directory)
        self._layout.make_directories(self._written_directory)
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
        promise = AnnexPromise(self, key, record, lock)
        try:
            self._grow(key, path, b"%.6fs" % (self._clock.wall() + RETENTION))
            fsync_directory(directory)
        except BaseException:
            promise.abandon()
            raise
        finally:
            self._layout.freeze(directory)
        return promise

    @contextmanager
    def removing(self, key: Key, timeout: float) -> Iterator[bool]:
        """Whether nobody keeps `key`, so that it may be removed inside of the block.

        Meanwhile nobody can begin to keep it. When it was removed, so is what was recorded for it. While git-annex
        removes it, it is waited for, not longer than `PATIENCE`; Busy where `timeout` is 0.
        """
        self._let_go()
        if self._records.held(key):
            yield False
            return
        path = self._layout.find(key)
        directory = os.path.dirname(path)
        was_here = os.path.lexists(path)
        try:
            lock = self._exclusive_lock(path, min(timeout, PATIENCE))
        except FileNotFoundError:
            yield True  # the directory is gone, and the content with it
            return
        if lock is None:
            self._layout.freeze(directory)
            yield False
            return
        try:
            yield not self._unexpired(path)
        finally:
            try:
                self._layout.within(directory, lambda: self._clean_up(key, path, lock))
            except FileNotFoundError:
                pass  # the directory is gone
            finally:
                lock.close()
                if not was_here or os.path.lexists(path):
                    self._layout.remove_empty(directory)  # otherwise the store does, of several keys at once

    def _exclusive_lock(self, path: bytes, timeout: float) -> LockFile | None:
        """The object's lock file, locked exclusively; None where somebody keeps the content."""
        lock: LockFile | None = None

        def settled() -> bool:
            nonlocal lock
            lock = LockFile.take(path + b".lck", self._layout, exclusive=True)
            if lock is not None:
                return True
            shared = LockFile.take(path + b".lck", self._layout, exclusive=False)
            if shared is None:
                return False  # somebody else is removing it
            shared.close()
            return True

        try:
            wait_until(lambda: self._layout.within(os.path.dirname(path), settled), timeout)
        except Busy:
            if not timeout:
                raise
        return lock

    def _clean_up(self, key: Key, path: bytes, lock: LockFile) -> None:
        """Remove what stands beside an object, if that is gone, and the lock that is held exclusively."""
        if not os.path.lexists(path):
            _unlink(path + b".rtm")
            _unlink(path + b".rtl")
            _unlink(self._written(key))
        lock.remove()

    def keep(self, lock: LockFile) -> None:
        """Hold the lock of somebody who was lost for as long as this process goes on and the promise does.

        git-annex would otherwise take the time away when it lets go of a lock of its own.
        """
        self._let_go()
        self._kept.append((self._clock.monotonic() + RETENTION, lock))
        if len(self._kept) > KEPT_LOCKS:
            self._kept.popleft()[1].close()
        self._news.set()

    async def let_go_in_time(self) -> None:
        """Let go of each lock when its promise is over, until cancelled. Otherwise the next promise or removal does."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            while self._kept:
                await trio.sleep(max(1.0, self._kept[0][0] - self._clock.monotonic()))
                self._let_go()

    def _let_go(self) -> None:
        while self._kept and self._kept[0][0] <= self._clock.monotonic():
            self._kept.popleft()[1].close()

    def close(self) -> None:
        """Let go of the locks of those who were lost. What they were promised is on record."""
        while self._kept:
            self._kept.popleft()[1].close()

    def withdraw(self, key: Key, lock: LockFile) -> None:
        """A promise of ours, whose lock this is, has ended: tell git-annex, if no other one is left."""
        with self._exclusion.hold(key):
            if not lock.upgrade() or self._records.held(key):
                return
            path = self._layout.find(key)
            directory = os.path.dirname(path)
            try:
                self._layout.within(directory, lambda: self._forget(key, path, lock))
                self._layout.freeze(directory)
            except FileNotFoundError:
                pass  # the directory is gone

    def _forget(self, key: Key, path: bytes, lock: LockFile) -> None:
        now = self._clock.wall()
        written, earlier = self._read_written(key)
        if _read(path + b".rtm") == written and _seconds(earlier) <= now:
            _unlink(path + b".rtm")
            _unlink(self._written(key))
        _unlink(path + b".rtl")
        lock.remove()

    def _shared_lock(self, path: bytes) -> LockFile | None:
        """The object's lock file, locked shared; None where the content is being removed, or is gone."""
        deadline = time.monotonic() + PATIENCE
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

    def _grow(self, key: Key, path: bytes, until: bytes) -> None:
        """Let git-annex know until when the content is kept. The object's lock is held, so that no one removes .rtl."""
        directory = os.path.dirname(path)
        sharing = self._layout.sharing
        fd = self._layout.within(
            directory, lambda: os.open(path + b".rtl", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        )
        try:
            if os.fstat(fd).st_uid == os.geteuid():
                sharing.file(path + b".rtl")
            wait_until(lambda: try_range(fd, fcntl.F_WRLCK), PATIENCE)
            current = _read(path + b".rtm")
            written, earlier = self._read_written(key)
            if current is not None and current != written:
                earlier = current
            if _seconds(current) >= _seconds(until):
                return
            # What is ours is noted first: a time that is not, is taken for somebody else's, and is left alone.
            self._replace(self._written(key), until + b" " + (earlier or b""))
            new = self._new(until)
            self._layout.within(directory, lambda: os.rename(new, path + b".rtm"))
        finally:
            os.close(fd)

    def _unexpired(self, path: bytes) -> bool:
        """Whether the time that git-annex goes by is still to come. One that makes no sense counts from its file's."""
        current = _read(path + b".rtm")
        if current is None:
            return False
        until = _seconds(current)
        if not until:
            try:
                until = os.stat(path + b".rtm").st_mtime + RETENTION
            except FileNotFoundError:
                return False
        return self._clock.wall() < until

    def _written(self, key: Key) -> bytes:
        return os.path.join(self._written_directory, key.file_name)

    def _read_written(self, key: Key) -> tuple[bytes | None, bytes | None]:
        """The time of ours that stands in git-annex's file, and one that others wrote before."""
        text = _read(self._written(key))
        if text is None:
            return None, None
        written, _, earlier = text.partition(b" ")
        return written, earlier or None

    def _replace(self, path: bytes, text: bytes) -> None:
        os.rename(self._new(text), path)

    def _new(self, text: bytes) -> bytes:
        """A new file with the text, durable, to be renamed."""
        path = os.path.join(self._layout.own, b"new-" + secrets.token_hex(8).encode())
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            os.write(fd, text)
            os.fsync(fd)
        finally:
            os.close(fd)
        self._layout.sharing.file(path)
        return path


def _read(path: bytes) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(4096)
    except FileNotFoundError:
        return None


def _seconds(text: bytes | None) -> float:
    """The time in a file of git-annex's; 0 where there is none."""
    match = _TIME.fullmatch(text or b"")
    return float(match[1]) if match else 0.0


def _unlink(path: bytes) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
