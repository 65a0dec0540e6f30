"""Downloads: of an object file from an offset on, and of content that is not present."""

from __future__ import annotations

import os
import time

import trio

from p2pannex.keys.key import Key
from p2pannex.service import Download
from p2pannex.stores.files.hashing import hash_in_steps
from p2pannex.stores.files.interfaces import Layout
from p2pannex.stores.files.lookup import is_whole, open_object
from p2pannex.stores.files.vouching import Vouching
from p2pannex.system.disk_errors import disk_errors

READ_ON_LOOP = 64 * 1024
"""Bytes up to which a read runs on the event loop. A thread would take longer than such a read."""


class ObjectDownload(Download):
    """A download of an open object file, from an offset on. It closes `fd`, and is its own `file_range`.

    `status` is the status of the file, if the caller has it already. If the receiver does not accept what it received
    (`finish`), the object of `key` becomes suspect in `vouching`.
    """

    def __init__(
        self,
        fd: int,
        offset: int,
        status: os.stat_result | None = None,
        key: Key | None = None,
        vouching: Vouching | None = None,
    ) -> None:
        self._fd = fd
        self._key = key
        self._vouching = vouching
        self.position = offset
        self._status = os.fstat(fd) if status is None else status
        self.length = max(0, self._status.st_size - offset)
        self._end = offset + self.length
        if self.length > READ_ON_LOOP:
            os.posix_fadvise(fd, offset, self.length, os.POSIX_FADV_SEQUENTIAL)

    @property
    def file_range(self) -> ObjectDownload | None:
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

    async def finish(self, received: bool) -> None:
        if not received and self.position >= self._end and self._key is not None and self._vouching is not None:
            self._vouching.doubt(self._key, self._fd)

    async def aclose(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        await trio.lowlevel.checkpoint_if_cancelled()


class HashingDownload(ObjectDownload):
    """A download of an object that other programs may have changed. All of its content is hashed, as it is sent.

    So what `valid` reports is true of the very bytes that were sent.
    """

    def __init__(self, fd: int, offset: int, status: os.stat_result, key: Key, vouching: Vouching) -> None:
        super().__init__(fd, offset, status, key, vouching)
        self._content_key = key
        self._memory = vouching
        self._verifier = key.verifier()
        self._began = time.time_ns()

    @property
    def file_range(self) -> None:
        return None

    async def readinto(self, view: memoryview) -> int:
        await self._catch_up()
        count = await super().readinto(view)
        if count <= READ_ON_LOOP:
            self._verifier.update(view[:count])
        else:
            await trio.to_thread.run_sync(self._verifier.update, view[:count])
        return count

    async def _catch_up(self) -> None:
        """Hash the bytes before the offset, which the receiver has already."""
        if self._verifier.received < self.position and not self._verifier.received:
            with disk_errors("cannot read the content"):
                await hash_in_steps(self._fd, self._verifier, min(self.position, self._status.st_size))

    async def valid(self) -> bool:
        await self._catch_up()
        if not await super().valid():
            return False
        good = self._verifier.valid()
        self._memory.remember(self._content_key, self._status, good, self._began)
        return good


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


async def open_download(layout: Layout, vouching: Vouching, key: Key, offset: int) -> Download:
    """Open a download of the key's object. OSError if it cannot be opened, RemoteError if it cannot be verified."""
    verified = False
    while (fd := open_object(layout, key)) is not None:
        status = os.fstat(fd)
        whole = is_whole(key, status)
        if whole and vouching.protected(status):
            return ObjectDownload(fd, offset, status, key, vouching)
        if whole and (verified or not vouching.suspect(key, status)):
            return HashingDownload(fd, offset, status, key, vouching)
        os.close(fd)
        if not whole or await vouching.vouched(key, status) is None:
            break
        verified = True
    return Nothing()
