"""Promises to keep content, on disk: what LOCKCONTENT's SUCCESS rests on (protocol-spec section 7).

A lock is a small file of its own, ``annex/retention/<key file>/<name>``, written, fsynced and moved into place before
SUCCESS is said. It says until when the content is kept should the holder be lost. While the holder is there, it also
has the file locked, which holds for as long as the connection lasts.

Why no content can be removed that was promised to be kept:

- A lock is recorded, and a removal decided, only while the key's exclusion is held; so a removal sees every record
  that was made before it, and a lock is refused where the content is already gone.
- A record is removed by its holder's own `release`, which only UNLOCKCONTENT calls, or by somebody who found that its
  time is over and its holder gone. EOF, RST, SIGKILL and a reboot do neither.
- Time: within one boot the record is judged by CLOCK_BOOTTIME, which neither jumps nor stands still; after a reboot by
  the wall clock. A record that cannot be read counts from the time of its file.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from p2pannex.keys.key import Key
from p2pannex.service import RETENTION
from p2pannex.system.clock import Clock
from p2pannex.system.durability import names_durable
from p2pannex.system.file_locks import try_lock
from p2pannex.system.fsync_batch import run_blocking


def read_boot_id() -> str:
    """Which boot of the machine this is; a word that never matches where the system does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip() or secrets.token_hex(16)
    except OSError:
        return secrets.token_hex(16)


class Record:
    """One promise, held by this process. Made by `Retention.record`."""

    def __init__(self, path: bytes, fd: int) -> None:
        self._path = path
        self._fd = fd

    def release(self) -> None:
        """The holder has said that the content may be removed again."""
        if self._fd >= 0:
            _remove_record(self._path)
            self.abandon()

    def abandon(self) -> None:
        """The holder is gone: the promise stays until its time is over."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class Retention:
    """The records in `directory`. `boot` tells one boot of the machine from another.

    `share` is told the path of each new file and directory, to give others of a group access to it.
    """

    def __init__(
        self,
        directory: bytes,
        clock: Clock,
        *,
        boot: str | None = None,
        share: Callable[[bytes], None] = lambda path: None,
    ) -> None:
        self._directory = directory
        self._share = share
        self._clock = clock
        self._boot = boot or read_boot_id()

    def record(self, key: Key) -> Record:
        """Promise to keep `key` for ten minutes from now, durably. Call it with the key's exclusion held."""
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
        record = Record(os.path.join(directory, name), fd)
        try:
            os.write(fd, text.encode())
            os.fsync(fd)
            try_lock(fd, shared=True)
            self._share(os.path.join(directory, b"." + name))
            os.rename(os.path.join(directory, b"." + name), os.path.join(directory, name))
            run_blocking(names_durable(directory, self._directory, made))
        except BaseException:
            record.abandon()
            raise
        return record

    def is_retained(self, key: Key) -> bool:
        """Whether anybody was promised that `key` is kept, as of now. Call it with the key's exclusion held.

        Records whose time is over and whose holder is gone are removed.
        """
        return self._sweep(os.path.join(self._directory, key.file_name))

    @contextmanager
    def removing(self, key: Key, path: bytes, timeout: float) -> Iterator[bool]:
        """Whether nobody was promised that `key` is kept, so that it may be removed inside of the block. Call it with
        the key's exclusion held."""
        yield not self.is_retained(key)

    def sweep(self) -> None:
        """Remove what lost holders left behind long ago, so that records do not pile up."""
        for name in os.listdir(self._directory):
            self._sweep(os.path.join(self._directory, name))

    def _sweep(self, directory: bytes) -> bool:
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            return False
        active = [self._active(os.path.join(directory, name)) for name in names]  # each is looked at, and swept
        return any(active)

    def _active(self, path: bytes) -> bool:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            if self._unexpired(fd) or not try_lock(fd):
                return True
            _remove_record(path)
            return False
        finally:
            os.close(fd)

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
            return  # somebody else has removed it, or other records are there; the promise itself has ended
