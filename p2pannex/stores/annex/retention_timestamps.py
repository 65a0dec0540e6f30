"""The time that git-annex goes by when it is asked to remove content: ``KEYFILE.rtm``, beside the object.

It holds the POSIX time (``1234567890.5s``) until which the content must not be removed, should its keepers be lost; it
is written with ``KEYFILE.rtl`` locked, and only grows. git-annex removes it when the last keeper lets go of the
content's lock, whether or not the client said so.

Which times are ours is noted in ``annex/p2pannex/written/KEYFILE``, with the one of others whose place ours took: so
that a time is only taken away by us if it is ours, and none of others is still to come.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets

from p2pannex.git_annex.layout import AnnexLayout
from p2pannex.keys.key import Key
from p2pannex.service import RETENTION
from p2pannex.system.clock import Clock
from p2pannex.system.file_locks import try_range, wait_until

TIMESTAMP_LOCK_TIMEOUT = 1.0
"""Seconds for which the lock of the file is tried: git-annex has it for a moment."""

_TIME = re.compile(rb"(\d{1,18}(?:\.\d+)?)s\s*")


class AnnexTimes:
    """The times of a repository. All calls want the key's exclusion held; `path` is that of its object."""

    def __init__(self, layout: AnnexLayout, clock: Clock) -> None:
        self._layout = layout
        self._clock = clock
        self._written_directory = os.path.join(layout.own, b"written")

    def prepare(self) -> None:
        """Make the directory for what is noted."""
        self._layout.make_directories(self._written_directory)

    def grow(self, key: Key, path: bytes) -> None:
        """Let git-annex know that the content is kept for the usual time. The object's lock is held, so that no one
        removes .rtl."""
        until = b"%.6fs" % (self._clock.wall() + RETENTION)
        directory = os.path.dirname(path)
        sharing = self._layout.sharing
        fd = self._layout.within(
            directory, lambda: os.open(path + b".rtl", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        )
        try:
            if os.fstat(fd).st_uid == os.geteuid():
                sharing.file(path + b".rtl")
            wait_until(lambda: try_range(fd, fcntl.F_WRLCK), TIMESTAMP_LOCK_TIMEOUT)
            current = _read(path + b".rtm")
            written, earlier = self._read_written(key)
            if current is not None and current != written:
                earlier = current
            if _seconds(current) >= _seconds(until):
                return
            # What is ours is noted first: a time that is not, is taken for somebody else's, and is left alone.
            os.rename(self._new(until + b" " + (earlier or b"")), self._written(key))
            new = self._new(until)
            self._layout.within(directory, lambda: os.rename(new, path + b".rtm"))
        finally:
            os.close(fd)

    def unexpired(self, path: bytes) -> bool:
        """Whether the time is still to come. One that makes no sense counts from its file's."""
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
        """Remove the time if it is ours, and no earlier one of others is still to come. Called in the directory's
        `within`, with the object's lock held exclusively."""
        now = self._clock.wall()
        written, earlier = self._read_written(key)
        if _read(path + b".rtm") == written and _seconds(earlier) <= now:
            _unlink(path + b".rtm")
            _unlink(self._written(key))
        _unlink(path + b".rtl")

    def forget(self, key: Key, path: bytes) -> None:
        """Remove all of it: the content is gone."""
        for left in (path + b".rtm", path + b".rtl", self._written(key)):
            if os.access(left, os.F_OK):  # which takes half the time, and mostly nothing is
                _unlink(left)

    def _written(self, key: Key) -> bytes:
        return os.path.join(self._written_directory, key.file_name)

    def _read_written(self, key: Key) -> tuple[bytes | None, bytes | None]:
        """The time of ours that stands in git-annex's file, and one that others wrote before."""
        text = _read(self._written(key))
        if text is None:
            return None, None
        written, _, earlier = text.partition(b" ")
        return written, earlier or None

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
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def _seconds(text: bytes | None) -> float:
    """The time in a file of git-annex's; 0 where there is none."""
    match = _TIME.fullmatch(text or b"")
    return float(match[1]) if match else 0.0


def _unlink(path: bytes) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
