"""Retention records: the files that keep content locked, also when the client is lost (protocol-spec section 7).

Each lock has a file of its own, ``annex/retention/<key file>/<name>``. It is written, fsynced and renamed into place
before SUCCESS to LOCKCONTENT is sent. The record contains the time until which the content must be kept if the client
is lost. While the client is connected, the process that serves it also has the file locked with flock(2): the content
must be kept for as long as that lasts, even if the time is over.

Why locked content cannot be removed:

1. A lock is recorded, and a removal decided, only with the key's exclusion held. So a removal sees every record that
   was made before it, and no lock is given for content that is already removed.
2. Only two events remove a record. Either the serving process calls `release`, which it does only for UNLOCKCONTENT. Or
   a process finds that the record has expired, and that no process has it locked. EOF, RST, SIGKILL and a reboot
   cause neither.
3. A record does not expire too early. In the boot in which it was made, its time is compared with CLOCK_BOOTTIME, which
   does not jump, and runs while the machine is suspended. After a reboot it is compared with the wall clock; here the
   argument assumes that the wall clock is right. A record that cannot be parsed expires ten minutes after its file's
   modification time.

Why a lock that was refused with an error does not bind: until the rename, the file's name begins with a dot, and such
files do not count. If a step after the rename fails, the file is removed. If that fails too, its first bytes are
overwritten with `RELEASED`, which needs no space on the disk.

The number of records has a bound, for each key and for the store (`LockLimits`): beyond it, no lock is given. A lock
that was given is never forgotten for another one.

Locks of lost clients leave records. Every lock removes some that have expired, and so do removals and the closing of
the store: at most `SWEPT_RECORDS` each, so that no request waits for it.
"""

from __future__ import annotations

import errno
import os
import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from attrs import frozen

from p2pannex.keys.key import Key
from p2pannex.service import RETENTION, TooManyLocks
from p2pannex.stores.files.retention_record import RELEASED, Record, remove_record
from p2pannex.system.clock import Clock, read_boot_id
from p2pannex.system.directory_samples import some_names
from p2pannex.system.durability import file_durable, names_durable
from p2pannex.system.file_locks import KERNEL_LOCKS, Locks
from p2pannex.system.fsync_batch import run_blocking

_TOO_MANY = "{} locked already, by clients or for clients that were lost; try again in ten minutes"

SWEEP_INTERVAL = 10.0
"""Seconds between two sweeps of one process, as long as sweeps find nothing that has expired."""

SWEPT_RECORDS = 100
"""Records that one sweep looks at."""

LISTED_KEYS = 1000
"""Locked keys from which one sweep chooses at random."""


LOCKS_PER_KEY = 1000
"""Locks on one content at a time, of clients that are connected or lost, unless it is set."""

LOCKS = 10_000
"""Contents that are locked at a time, unless it is set. The more there are, the fewer locks may each have: so many in
all, if each has the same number."""


@frozen
class LockLimits:
    """How many locks there may be at a time: on one content, and in the store if each content has the same number."""

    per_key: int = LOCKS_PER_KEY
    locks: int = LOCKS


class Retention:
    """The records in `directory`.

    clock: the clock for the times in the records.
    boot: the id of this boot of the machine; the kernel's if None.
    share: called with the path of each new file and directory, to set permissions for a shared repository.
    locks: how the files of records are locked.
    limits: how many locks are given; those of `LockLimits` if None.
    """

    def __init__(
        self,
        directory: bytes,
        clock: Clock,
        *,
        boot: str | None = None,
        share: Callable[[bytes], None] = lambda path: None,
        locks: Locks = KERNEL_LOCKS,
        limits: LockLimits | None = None,
    ) -> None:
        self._limits = limits or LockLimits()
        self._directory = directory
        self._locks = locks
        self._share = share
        self._clock = clock
        self._boot = boot or read_boot_id()
        self._next_sweep = 0.0

    def record(self, key: Key) -> Record:
        """Make a durable record that locks `key`, for at least ten minutes from now unless it is released.

        The caller holds the key's exclusion. TooManyLocks if there are as many locks as allowed.
        """
        self.sweep_now_and_then()
        directory = os.path.join(self._directory, key.file_name)
        name = secrets.token_hex(8).encode()
        text = f"{self._clock.wall() + RETENTION:.3f} {self._clock.monotonic() + RETENTION:.3f} {self._boot}\n".encode()
        made = set()
        new = os.path.join(directory, b"." + name)
        try:
            while True:
                try:
                    os.mkdir(directory)
                    made.add(directory)
                    self._share(directory)
                    self._require_fewer_keys()
                except FileExistsError:
                    self._require_fewer_locks(directory)
                try:
                    fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                    break
                except FileNotFoundError:
                    continue  # a release or a sweep has just removed the directory
        except BaseException:
            with suppress(OSError):
                os.rmdir(directory)  # it stays if it has other records
            raise
        record = Record(os.path.join(directory, name), fd, self._locks)
        try:
            if os.write(fd, text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            run_blocking(file_durable(fd))
            self._locks.try_lock(fd)
            self._share(new)
            os.rename(new, os.path.join(directory, name))
            run_blocking(names_durable(directory, self._directory, made))
        except BaseException:
            with suppress(OSError):
                os.unlink(new)
            with suppress(OSError):
                record.release()
            raise
        return record

    def _require_fewer_keys(self) -> None:
        """TooManyLocks if more keys than allowed have records, after some that have expired were swept."""
        while len(os.listdir(self._directory)) > self._limits.locks:
            if not self.sweep():
                raise TooManyLocks(_TOO_MANY.format(f"{self._limits.locks} contents are"))

    def _require_fewer_locks(self, directory: bytes) -> None:
        """TooManyLocks if the key has as many records as allowed, after those that have expired were swept."""
        allowed = min(self._limits.per_key, max(1, self._limits.locks // max(1, len(os.listdir(self._directory)))))
        looked_at, gone, left = self._sweep_some(directory, SWEPT_RECORDS)
        while left and looked_at == gone:
            looked_at, gone, left = self._sweep_some(directory, SWEPT_RECORDS)
        while left >= allowed:
            _, gone, left = self._sweep_some(directory, left)
            if not gone:
                raise TooManyLocks(_TOO_MANY.format(f"the content is {left} times"))

    def is_retained(self, key: Key) -> bool:
        """Whether a lock on `key` is valid now. The caller holds the key's exclusion.

        If none is, no record is left. The first valid one that is found ends the search: there may be thousands.
        """
        directory = os.path.join(self._directory, key.file_name)
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            return False
        if any(self._active(os.path.join(directory, name)) for name in names if not name.startswith(b".")):
            return True
        for name in names:
            if name.startswith(b"."):  # a process failed, or was killed, while it made a record
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(directory, name))
        if names:
            with suppress(OSError):
                os.rmdir(directory)
        return False

    @contextmanager
    def removing(self, key: Key, path: bytes, timeout: float) -> Iterator[bool]:
        """Yields whether no lock on `key` is valid, so that the content may be removed in the block.

        The caller holds the key's exclusion, also during the block.
        """
        self.sweep_now_and_then()
        yield not self.is_retained(key)

    def sweep_now_and_then(self) -> None:
        """Call `sweep`, if the last call has removed something, or was more than `SWEEP_INTERVAL` seconds ago."""
        now = self._clock.monotonic()
        if now >= self._next_sweep:
            self._next_sweep = now if self.sweep() else now + SWEEP_INTERVAL

    def sweep(self) -> bool:
        """Remove some records that have expired, of any keys. Whether there were any.

        It needs no exclusion: a record that has expired, and that no process has locked, never becomes valid again.
        The keys and records are chosen at random, so that none is left out for ever.
        """
        try:
            names = some_names(self._directory, LISTED_KEYS, SWEPT_RECORDS)
        except OSError:
            return False  # the next request that needs the directory reports the error
        left = SWEPT_RECORDS
        removed = 0
        for name in names:
            if left <= 0:
                break
            looked_at, gone, _ = self._sweep_some(os.path.join(self._directory, name), left)
            left -= looked_at
            removed += gone
        return removed > 0

    def _sweep_some(self, directory: bytes, limit: int) -> tuple[int, int, int]:
        """Remove records of one key that have expired. How many were looked at, were removed, and are left."""
        try:
            names = os.listdir(directory)
            chosen = random.sample(names, min(len(names), limit))
        except OSError:
            return 1, 0, 0
        gone = 0
        for name in chosen:
            with suppress(OSError):  # what cannot be removed stays, and has expired all the same
                gone += self._sweep_record(os.path.join(directory, name))
        if gone == len(names):
            with suppress(OSError):
                os.rmdir(directory)
        return max(len(chosen), 1), gone, len(names) - gone

    def _sweep_record(self, path: bytes) -> bool:
        if not os.path.basename(path).startswith(b"."):
            return not self._active(path)
        if self._clock.wall() < os.lstat(path).st_mtime + RETENTION:
            return False  # perhaps it is being made at this moment
        os.unlink(path)
        return True

    def _active(self, path: bytes) -> bool:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            # A shared lock: the process of a connected client has an exclusive one, and others that look, as this does,
            # do not take each other for it.
            if self._unexpired(fd) or not self._locks.try_lock(fd, shared=True):
                return True
            remove_record(path, fd)
            return False
        finally:
            self._locks.close(fd)

    def _unexpired(self, fd: int) -> bool:
        text = os.read(fd, 4096)
        if text.startswith(RELEASED):
            return False
        words = text.split()
        try:
            until_wall, until_monotonic, boot = float(words[0]), float(words[1]), words[2].decode()
        except (IndexError, ValueError):
            return self._clock.wall() < os.fstat(fd).st_mtime + RETENTION
        if boot == self._boot:
            return self._clock.monotonic() < until_monotonic
        return self._clock.wall() < until_wall
