"""The retention timestamp that git-annex obeys when it removes content: ``KEYFILE.rtm``, beside the object.

It contains the POSIX time (``1234567890.5s``) before which the content must not be removed, even if all processes that
locked it are lost. It is written with ``KEYFILE.rtl`` locked, and never set back. git-annex removes it when the last
lock on the content is released, whether or not the client has sent UNLOCKCONTENT.

``annex/p2pannex/written/KEYFILE`` contains the timestamp that p2pannex wrote, the one of another program that it
replaced, and its own one that it replaced, each if any. So p2pannex can remove a timestamp only if it wrote it itself,
and if the replaced one of another program has expired. The last one is there because the file is written first: if the
change of the timestamp then fails, p2pannex still knows the one that is left as its own.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from contextlib import suppress

from p2pannex.git_annex.layout import AnnexLayout
from p2pannex.keys.key import InvalidKey, Key
from p2pannex.service import RETENTION
from p2pannex.system.clock import Clock
from p2pannex.system.directory_samples import some_names
from p2pannex.system.durability import directory_durable, file_durable
from p2pannex.system.file_locks import close_lock, wait_until
from p2pannex.system.fsync_batch import run_blocking
from p2pannex.system.unsupported import rename

TIMESTAMP_LOCK_TIMEOUT = 1.0
"""Seconds to wait for the lock on the timestamp. git-annex holds it only briefly."""

LISTED = 1000
"""Timestamps from which one sweep chooses at random."""

SWEPT = 50
"""Timestamps that one sweep looks at."""

_TIME = re.compile(rb"(\d{1,18}(?:\.\d+)?)s\s*")


class AnnexTimes:
    """The timestamps of a repository. Callers hold the key's exclusion. `path` is the path of the key's object."""

    def __init__(self, layout: AnnexLayout, clock: Clock) -> None:
        self._layout = layout
        self._clock = clock
        self._written_directory = os.path.join(layout.own, b"written")

    def prepare(self) -> None:
        """Make the directory ``annex/p2pannex/written``."""
        self._layout.make_directories(self._written_directory)

    def grow(self, key: Key, path: bytes) -> None:
        """Set the timestamp to ten minutes from now, durably, unless it is later already. An error changes nothing.

        The caller holds the object's lock, so that no other program removes ``KEYFILE.rtl`` meanwhile.
        """
        until = b"%.6fs" % (self._clock.wall() + RETENTION)
        directory = os.path.dirname(path)
        sharing = self._layout.sharing
        fd = self._layout.within(
            directory, lambda: os.open(path + b".rtl", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        )
        try:
            if os.fstat(fd).st_uid == os.geteuid():
                sharing.file(path + b".rtl")
            locks = self._layout.locks
            wait_until(lambda: locks.try_range(fd, fcntl.F_WRLCK), TIMESTAMP_LOCK_TIMEOUT, fd)
            current = _read(path + b".rtm")
            own, earlier = self._read_written(key)
            if current is not None and current not in own:
                earlier = current
            if _seconds(current) >= _seconds(until):
                run_blocking(directory_durable(directory))  # its writer may not have fsynced yet
                return
            # ``written`` comes first. In the other order, if we are killed in between, the timestamp would be taken for
            # another program's, and would stay until it expires.
            replaced = current if current in own else None
            self._replace(self._written(key), b" ".join([until, earlier or b"", replaced or b""]))
            try:
                self._replace(path + b".rtm", until)
                run_blocking(directory_durable(directory))
            except BaseException:
                with suppress(OSError):
                    self._put_back(path, until, current)
                raise
        finally:
            close_lock(fd, self._layout.locks)

    def _put_back(self, path: bytes, until: bytes, earlier: bytes | None) -> None:
        """Undo a change of the timestamp to `until`. The caller has ``KEYFILE.rtl`` locked."""
        if _read(path + b".rtm") != until:
            return
        if _seconds(earlier) > self._clock.wall():
            self._replace(path + b".rtm", earlier or b"")
        else:
            self._layout.within(os.path.dirname(path), lambda: _unlink(path + b".rtm"))

    def unexpired(self, path: bytes) -> bool:
        """Whether there is a timestamp that has not expired.

        An invalid one expires ten minutes after the file's modification time.
        """
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

    def withdraw(self, key: Key, path: bytes) -> None:
        """Remove the timestamp if p2pannex wrote it, and the one of another program that it replaced has expired.

        The caller holds the object's lock exclusively, and calls this in `AnnexLayout.within` of the directory.
        """
        now = self._clock.wall()
        own, earlier = self._read_written(key)
        if _read(path + b".rtm") in own and _seconds(earlier) <= now:
            _unlink(path + b".rtm")
            _unlink(self._written(key))
        _unlink(path + b".rtl")

    def some_expired(self) -> list[Key]:
        """Some keys, chosen at random, whose timestamps were written by p2pannex and have expired."""
        try:
            names = some_names(self._written_directory, LISTED, SWEPT)
        except OSError:
            return []
        keys = []
        for name in names:
            with suppress(OSError, InvalidKey):
                key = Key.from_file_name(name)
                if self._has_expired(key):
                    keys.append(key)
        return keys

    def _has_expired(self, key: Key) -> bool:
        own, earlier = self._read_written(key)
        return max(map(_seconds, [*own, earlier])) <= self._clock.wall()

    def sweep(self, key: Key, path: bytes) -> bool:
        """Remove what p2pannex wrote about a timestamp that has expired, and the timestamp if it is its own. Whether it
        has expired. As for `withdraw`, the caller holds the object's lock exclusively, unless the content is gone."""
        expired = self._has_expired(key)
        if expired:
            self.withdraw(key, path)
            _unlink(self._written(key))
        return expired

    def forget(self, key: Key, path: bytes) -> None:
        """Remove all files of the timestamp, because the content is gone."""
        for left in (path + b".rtm", path + b".rtl", self._written(key)):
            if os.access(left, os.F_OK):  # takes half the time of a failing unlink, and mostly there is no such file
                _unlink(left)

    def _written(self, key: Key) -> bytes:
        return os.path.join(self._written_directory, key.file_name)

    def _read_written(self, key: Key) -> tuple[set[bytes], bytes | None]:
        """The timestamps that p2pannex wrote last, and the one of another program that it replaced."""
        text = _read(self._written(key))
        if text is None:
            return set(), None
        written, earlier, replaced = [*text.split(b" "), b"", b""][:3]
        return {own for own in (written, replaced) if own}, earlier or None

    def _replace(self, target: bytes, text: bytes) -> None:
        """Replace a small file atomically by one whose content is durable. The caller fsyncs the directory."""
        new = os.path.join(self._layout.own, b"new-" + secrets.token_hex(8).encode())
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            try:
                if os.write(fd, text) != len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                run_blocking(file_durable(fd))
            finally:
                os.close(fd)
            self._layout.sharing.file(new)
            directory = os.path.dirname(target)
            temporary = os.path.join(directory, b"p2pannex.rtm")
            self._layout.within(directory, lambda: rename(new, target, temporary))
        except BaseException:
            _unlink(new)
            raise


def _read(path: bytes) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def _seconds(text: bytes | None) -> float:
    """Parse a timestamp; 0 if there is none or it is invalid."""
    match = _TIME.fullmatch(text or b"")
    return float(match[1]) if match else 0.0


def _unlink(path: bytes) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
