"""An upload into a partial: a file that stays if the upload is interrupted, and becomes the object when it is complete.

Only one upload at a time has a partial locked. After it has locked the file, it checks that the file is still the one
at its path.

Bytes are hashed as they are written. If an earlier upload left bytes, they come first, and hashing them may take
minutes. The new bytes are received meanwhile, because senders give up on a receiver that takes nothing: hashing follows
behind. With each block that is written, more of the file is hashed, from the file. What is left at the end is hashed
then, before the sender gets its reply. If the file cannot be the content, because of its size, nothing more is hashed.
"""

from __future__ import annotations

import os
from typing import Protocol

import trio

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key, Verifier
from p2pannex.service import NotStored, Stored, Upload
from p2pannex.stores.files.hashing import hash_in_steps, hash_to
from p2pannex.stores.files.partials import Claim, PartialLayout, open_partial
from p2pannex.stores.files.room import ALLOCATE, Room
from p2pannex.system.disk_errors import disk_errors, disk_full
from p2pannex.system.disk_work import DiskWork
from p2pannex.system.durability import file_durable, start_writing_back
from p2pannex.system.file_locks import is_at, unlink_own
from p2pannex.system.fsync_batch import Fsyncs, run_blocking

WRITE_ON_LOOP = 64 * 1024
"""Bytes up to which a write runs on the event loop. A thread would take longer than such a write."""

BEHIND = 8 << 20
"""Bytes of the file that are hashed while one block is written. Blocks are a quarter of that, so hashing catches up."""

CHANGED = "the partial content changed while it was read; try again"

WRITE_BACK = 8 << 20
"""Bytes that may gather in memory before the kernel is told to start writing them to disk."""


class Target(Protocol):
    """What an upload needs of its store. `ObjectStore` and the spool implement it."""

    disk_reserve: int
    disk_work: DiskWork

    @property
    def layout(self) -> PartialLayout: ...

    async def check_present(self, key: Key) -> bool: ...

    def claim(self, key: Key) -> Claim | None: ...

    async def changed(self, key: Key, present: bool) -> None: ...

    async def unchanged(self, key: Key, present: bool) -> None: ...

    def commit(self, key: Key, partial: bytes, fd: int) -> Fsyncs[None]: ...


class ObjectUpload(Upload):
    """An upload into a partial that is open and locked. Made by `open`."""

    def __init__(self, store: Target, key: Key, path: bytes, fd: int, claim: Claim) -> None:
        self._store = store
        self._claim = claim
        self._key = key
        self._path = path
        self._fd = fd
        self._verifier: Verifier | None = None
        self._end = 0
        """Bytes in the file. Those that the verifier has not received are hashed later."""
        self._announced = 0
        """Bytes that the file will have when all that was announced has been written."""
        self._unwritten = 0
        """Bytes at the end of the file that the kernel was not yet told to write to disk."""
        self._room = Room(fd, store.disk_reserve)

    @classmethod
    def open(cls, store: Target, key: Key) -> ObjectUpload | None:
        """Open an upload that resumes where the last one ended. None while another upload has the partial locked.

        RemoteError if the disk has no room for the rest, or if the hash of the key cannot be computed here.
        """
        if (missing := key.missing_hash) is not None:
            raise RemoteError(missing)
        path = store.layout.partial(key)
        while True:
            claim = store.claim(key)
            if claim is None:
                return None
            try:
                fd = open_partial(store.layout, path, exclusive=claim.exclusive)
            except BaseException as error:
                claim.release()
                if isinstance(error, FileNotFoundError) and store.layout.prepare(path):
                    continue
                raise
            upload = cls(store, key, path, fd, claim)
            try:
                if not store.layout.locks.try_lock(fd) and not claim.exclusive:
                    upload.abandon()
                    return None
                status = os.fstat(fd)
                if is_at(status, path):
                    upload.offset = status.st_size
                    upload._make_room()
                    return upload
            except BaseException:
                upload.close()
                raise
            upload.abandon()  # between opening and locking, the file became an object or was removed

    def _make_room(self) -> None:
        self._room.recover()
        size = self._key.size
        if size is None:
            return
        if self.offset > size:
            os.ftruncate(self._fd, 0)
            self.offset = 0
        self._room.require(size - self.offset)

    async def begin(self, length: int) -> None:
        size = self._key.size
        if size is not None and self.offset + length > size:
            raise RemoteError(f"{self.offset + length} bytes announced for a key of {size}")
        self._announced = self.offset + length
        if length >= ALLOCATE:
            await trio.to_thread.run_sync(self._room.take, self.offset, length)
        else:
            if size is None:  # otherwise `open` has checked it
                self._room.require(length)
            await trio.lowlevel.checkpoint_if_cancelled()
        self._verifier = self._key.verifier()
        self._end = self.offset
        if self.offset:
            os.lseek(self._fd, self.offset, os.SEEK_SET)

    async def send_all(self, view: memoryview) -> None:
        if self._fd < 0:
            raise ConnectionLost("this upload is closed")
        verifier = self._verifier
        assert verifier is not None, "begin comes first"
        before = self._end
        behind = verifier.received < before
        with disk_errors("cannot store the content"):
            if len(view) <= WRITE_ON_LOOP and not behind:
                await trio.lowlevel.checkpoint_if_cancelled()
                self._write(view)
                verifier.update(view)
                return
            failure: Exception | None = None

            async def hash_meanwhile() -> None:
                nonlocal failure
                try:
                    if behind:
                        end = min(verifier.received + BEHIND, before)
                        if not await trio.to_thread.run_sync(hash_to, self._fd, verifier, end):
                            raise RemoteError(CHANGED)
                    if verifier.received == before:
                        await trio.to_thread.run_sync(verifier.update, view)
                except (OSError, RemoteError) as error:
                    failure = error

            async with trio.open_nursery() as nursery:
                nursery.start_soon(hash_meanwhile)
                try:
                    await trio.to_thread.run_sync(self._write, view)
                except (OSError, RemoteError) as error:
                    failure = error
            if failure is not None:
                raise failure

    def _write(self, view: memoryview) -> None:
        written = 0
        try:
            self._room.require_to_write(len(view))
            while written < len(view):
                written += os.write(self._fd, view[written:])
        except OSError as error:
            raise disk_full(error, self._announced - self._end - written) from error
        self._end += written
        self._unwritten += written
        if self._unwritten >= WRITE_BACK:
            end = os.lseek(self._fd, 0, os.SEEK_CUR)
            start_writing_back(self._fd, end - self._unwritten, self._unwritten)
            self._unwritten = 0

    async def finish(self, valid: bool) -> Stored | NotStored:
        await self._hash_rest()
        stored = False
        # Once the content is stored, that is logged, even if the client has left meanwhile.
        with trio.CancelScope(shield=True), disk_errors("cannot store the content"):
            if self._end <= WRITE_ON_LOOP:
                stored = await self._store.disk_work.run_fsyncs(self._finish(valid))
            else:
                stored = await trio.to_thread.run_sync(run_blocking, self._finish(valid))
            if stored:
                await self._store.changed(self._key, True)
        return Stored() if stored else NotStored()

    async def _hash_rest(self) -> None:
        """Hash what is left, unless the file cannot be the content in any case."""
        verifier = self._verifier
        assert verifier is not None, "begin comes first"
        await trio.lowlevel.checkpoint_if_cancelled()
        if verifier.received == self._end or self._key.size not in {None, self._end}:
            return
        with disk_errors("cannot read what was stored before"):
            if not await hash_in_steps(self._fd, verifier, self._end):
                raise RemoteError(CHANGED)

    def _finish(self, valid: bool) -> Fsyncs[bool]:
        verifier = self._verifier
        assert verifier is not None, "begin comes first"
        try:
            if verifier.valid() and (valid or verifier.conclusive):
                try:
                    yield from file_durable(self._fd)
                except OSError:
                    # The kernel may drop pages that it could not write. A second fsync would succeed without them.
                    unlink_own(self._fd, self._path)
                    raise
                yield from self._store.commit(self._key, self._path, self._fd)
                self.abandon()  # the file is not a partial any more
                return True
            if not (valid or verifier.conclusive):
                # The sender sent INVALID, and the key has no digest to check the new bytes with: drop them.
                os.ftruncate(self._fd, self.offset)
                return False
            size = self._key.size
            if valid if size is None else self._end >= size:
                unlink_own(self._fd, self._path)  # complete but wrong: the next upload must start from the beginning
            return False
        finally:
            self.close()

    async def data_present(self) -> Stored | NotStored:
        await trio.lowlevel.checkpoint()
        if not await self._store.check_present(self._key):
            return NotStored()
        await self._store.unchanged(self._key, True)
        return Stored()

    def close(self) -> None:
        """Close and unlock the partial. It stays, unless it is empty."""
        try:
            if self._fd >= 0:
                self._room.close()
                if not os.fstat(self._fd).st_size:
                    unlink_own(self._fd, self._path)
        except OSError:
            pass  # an empty file may be left, which the next upload will use
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close and unlock the partial, and release the claim."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            try:
                self._store.layout.locks.close(fd)
            finally:
                self._claim.release()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint_if_cancelled()
