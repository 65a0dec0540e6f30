"""Downloads: of an object file from an offset on, and of content that is not present."""

from __future__ import annotations

import os

import trio

from p2pannex.service import Download
from p2pannex.system.disk_errors import disk_errors

READ_ON_LOOP = 64 * 1024
"""Bytes up to which a read runs on the event loop. A thread would take longer than such a read."""


class ObjectDownload(Download):
    """A download of an open object file, from an offset on. It closes `fd`, and is its own `file_range`.

    `status` is the status of the file, if the caller has it already.
    """

    def __init__(self, fd: int, offset: int, status: os.stat_result | None = None) -> None:
        self._fd = fd
        self.position = offset
        self._status = os.fstat(fd) if status is None else status
        self.length = max(0, self._status.st_size - offset)
        self._end = offset + self.length
        if self.length > READ_ON_LOOP:
            os.posix_fadvise(fd, offset, self.length, os.POSIX_FADV_SEQUENTIAL)

    @property
    def file_range(self) -> ObjectDownload:
        return self

    def fileno(self) -> int:
        return self._fd

    def advance(self, count: int) -> None:
        self.position += count

    async def readinto(self, view: memoryview) -> int:
        view = view[: self._end - self.position]
        with disk_errors("cannot read the content"):
            if len(view) <= READ_ON_LOOP:
                await trio.lowlevel.checkpoint_if_cancelled()
                count = os.preadv(self._fd, [view], self.position)
            else:
                count = await trio.to_thread.run_sync(os.preadv, self._fd, [view], self.position)
        self.position += count
        return count

    async def valid(self) -> bool:
        """Whether the file's size and modification time are the same as when it was opened."""
        await trio.lowlevel.checkpoint_if_cancelled()
        now, then = os.fstat(self._fd), self._status
        return (now.st_size, now.st_mtime_ns) == (then.st_size, then.st_mtime_ns)

    async def aclose(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        await trio.lowlevel.checkpoint_if_cancelled()


class Nothing(Download):
    """The download of content that is not present: it has no bytes, and is not valid."""

    async def readinto(self, view: memoryview) -> int:
        await trio.lowlevel.checkpoint_if_cancelled()
        return 0

    async def valid(self) -> bool:
        await trio.lowlevel.checkpoint_if_cancelled()
        return False

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
