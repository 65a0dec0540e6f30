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
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from p2pannex.keys.key import Key
from p2pannex.service import RETENTION
from p2pannex.system.clock import Clock
from p2pannex.system.durability import file_durable, names_durable
from p2pannex.system.file_locks import KERNEL_LOCKS, Locks
from p2pannex.system.fsync_batch import run_blocking


def read_boot_id() -> str:
    """The kernel's id of this boot of the machine. If there is none, a random one, which matches no other."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip() or secrets.token_hex(16)
    except OSError:
        return secrets.token_hex(16)


class Record:
    """The record of one lock, which a client of this process holds. Made by `Retention.record`."""

    def __init__(self, path: bytes, fd: int, locks: Locks = KERNEL_LOCKS) -> None:
        self._path = path
        self._fd = fd
        self._locks = locks

    def release(self) -> None:
        """Remove the record: the client has unlocked the content."""
        if self._fd >= 0:
            _remove_record(self._path)
            self.abandon()

    def abandon(self) -> None:
        """Unlock the record's file and leave it until it expires: the client is lost."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._locks.close(fd)


class Retention:
    """The records in `directory`.

    clock: the clock for the times in the records.
    boot: the id of this boot of the machine; the kernel's if None.
    share: called with the path of each new file and directory, to set permissions for a shared repository.
    locks: how the files of records are locked.
    """

    def __init__(
        self,
        directory: bytes,
        clock: Clock,
        *,
        boot: str | None = None,
        share: Callable[[bytes], None] = lambda path: None,
        locks: Locks = KERNEL_LOCKS,
    ) -> None:
        self._directory = directory
        self._locks = locks
        self._share = share
        self._clock = clock
        self._boot = boot or read_boot_id()

    def record(self, key: Key) -> Record:
        """Make a durable record that locks `key`, for at least ten minutes from now unless it is released.

        The caller holds the key's exclusion.
        """
        directory = os.path.join(self._directory, key.file_name)
        name = secrets.token_hex(8).encode()
        text = f"{self._clock.wall() + RETENTION:.3f} {self._clock.monotonic() + RETENTION:.3f} {self._boot}\n"
        made = set()
        while True:
            try:
                os.mkdir(directory)
                made.add(directory)
                self._share(directory)
            except FileExistsError:
                pass
            try:
                fd = os.open(os.path.join(directory, b"." + name), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
                break
            except FileNotFoundError:
                continue  # a release has just removed the directory
        record = Record(os.path.join(directory, name), fd, self._locks)
        try:
            os.write(fd, text.encode())
            run_blocking(file_durable(fd))
            self._locks.try_lock(fd, shared=True)
            self._share(os.path.join(directory, b"." + name))
            os.rename(os.path.join(directory, b"." + name), os.path.join(directory, name))
            run_blocking(names_durable(directory, self._directory, made))
        except BaseException:
            record.abandon()
            raise
        return record

    def is_retained(self, key: Key) -> bool:
        """Whether a lock on `key` is valid now. The caller holds the key's exclusion.

        This removes records that have expired, and that no process has locked.
        """
        return self._sweep(os.path.join(self._directory, key.file_name))

    @contextmanager
    def removing(self, key: Key, path: bytes, timeout: float) -> Iterator[bool]:
        """Yields whether no lock on `key` is valid, so that the content may be removed in the block.

        The caller holds the key's exclusion, also during the block.
        """
        yield not self.is_retained(key)

    def sweep(self) -> None:
        """Remove expired records of lost clients, for all keys, so that they do not accumulate."""
        for name in os.listdir(self._directory):
            self._sweep(os.path.join(self._directory, name))

    def _sweep(self, directory: bytes) -> bool:
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            return False
        active = [self._active(os.path.join(directory, name)) for name in names]  # check all: each removes its file
        return any(active)

    def _active(self, path: bytes) -> bool:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            if self._unexpired(fd) or not self._locks.try_lock(fd):
                return True
            _remove_record(path)
            return False
        finally:
            self._locks.close(fd)

    def _unexpired(self, fd: int) -> bool:
        words = os.read(fd, 4096).split()
        try:
            until_wall, until_monotonic, boot = float(words[0]), float(words[1]), words[2].decode()
        except (IndexError, ValueError):
            return self._clock.wall() < os.fstat(fd).st_mtime + RETENTION
        if boot == self._boot:
            return self._clock.monotonic() < until_monotonic
        return self._clock.wall() < until_wall


def _remove_record(path: bytes) -> None:
    for remove, target in ((os.unlink, path), (os.rmdir, os.path.dirname(path))):
        try:
            remove(target)
        except OSError:
            return  # it is removed already, or the directory has other records; a record that is left still expires
