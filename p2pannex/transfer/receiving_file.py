"""A `ReceivingFile`: the file that a transfer receives content into.

It writes to a partial file beside the requested file, and hashes the content as it writes. If the transfer is
interrupted, the partial file stays, and the next transfer resumes from it. The name of the partial file contains a
digest of the key, so that the bytes of one key are never continued with bytes of another. Only verified content gets
the name that the user requested.

Errors are OSError, with the file name that the user gave.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from typing import Self

import trio

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key, Verifier
from p2pannex.system.durability import directory_durable, file_durable
from p2pannex.system.file_locks import NoFileLocks, is_at, locked_by_another_user, try_lock, unlink_own
from p2pannex.system.fsync_batch import run_blocking
from p2pannex.system.unsupported import is_unsupported
from p2pannex.transfer.file_work import Path, named, work
from p2pannex.transports.pump import BLOCK, SMALL_BODY

SUFFIX = b".p2pannex-partial"
_NAME_MAX = 255


def partial_path(path: bytes, key: Key) -> bytes:
    """The partial file for content of `key` that will become `path`: `<path>.<16 hex digits>.p2pannex-partial`.

    If that name is too long for a file system, a digest of the file's name replaces it.
    """
    import hashlib

    directory, name = os.path.split(path)
    ending = b"." + hashlib.sha256(key.raw).hexdigest()[:16].encode() + SUFFIX
    if len(name) + len(ending) > _NAME_MAX:
        name = hashlib.sha256(name).hexdigest().encode()
    return os.path.join(directory, name + ending)


class ReceivingFile:
    """A file that receives content of `key`. Created by `open`; `commit` gives it its name; the caller closes it.

    reached: how many bytes of the content the partial file has.
    verifier: has received exactly these bytes.
    """

    def __init__(self, path: bytes, partial: bytes, fd: int, key: Key, *, overwrite: bool) -> None:
        self.path = path
        self.partial = partial
        self.reached = 0
        self.verifier: Verifier = key.verifier()
        self._key = key
        self._fd = fd
        self._overwrite = overwrite
        self._resumable = True

    @classmethod
    async def open(cls, path: Path, key: Key, *, overwrite: bool = False) -> Self:
        """Lock the partial file, and hash what an interrupted transfer left in it.

        FileExistsError if `path` exists and `overwrite` is not set; RemoteError if another process is receiving the
        same content into the same file.
        """
        wanted = os.fsencode(path)
        if os.path.isdir(wanted):
            raise named(IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)), wanted)
        if not overwrite and os.path.lexists(wanted):
            raise named(FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)), wanted)
        partial = partial_path(wanted, key)
        try:
            resumable = True
            try:
                fd = _open_locked(partial, wanted)
            except (NoFileLocks, _OfAnotherUser):
                # Another process could be writing to the same partial file, or another user could write to it later.
                # So this one gets a name of its own, and is not resumed from.
                partial = os.path.join(os.path.dirname(wanted), secrets.token_hex(8).encode() + SUFFIX)
                fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                resumable = False
            file = cls(wanted, partial, fd, key, overwrite=overwrite)
            file._resumable = resumable
        except OSError as error:
            raise named(error, wanted) from error
        try:
            await file._resume()
        except BaseException:
            file.close()
            raise
        return file

    async def _resume(self) -> None:
        size = os.fstat(self._fd).st_size
        unverifiable = not self.verifier.conclusive and self.verifier.size is None
        if unverifiable or size > (self.verifier.size or size):
            # Old bytes cannot be verified together with new ones, or there are too many: start from the beginning.
            await self.restart()
            return
        block = memoryview(bytearray(min(size, BLOCK)))
        while self.reached < size:
            count = await work(self._hash, block, self.path)
            if not count:
                return
        if size and self.verifier.received == self.verifier.size and self.wrong:
            await self.restart()

    def _hash(self, block: memoryview) -> int:
        count = os.preadv(self._fd, [block], self.reached)
        self.verifier.update(block[:count])
        self.reached += count
        return count

    @property
    def wrong(self) -> bool:
        """Whether the digest or the size of the bytes so far is not that of the key."""
        return not self.verifier.valid()

    async def send_all(self, view: memoryview) -> None:
        """Write and hash the next bytes of the content. If writing fails, `reached` does not change."""
        await work(self._write, view, self.path, in_thread=len(view) >= SMALL_BODY)

    def _write(self, view: memoryview) -> None:
        written = 0
        while written < len(view):
            written += os.pwrite(self._fd, view[written:], self.reached + written)
        self.verifier.update(view)
        self.reached += len(view)

    async def restart(self) -> None:
        """Discard what was received, and start from the beginning."""
        await trio.lowlevel.checkpoint()
        os.ftruncate(self._fd, 0)
        self.reached = 0
        self.verifier = self._key.verifier()

    async def commit(self, *, durable: bool = True) -> None:
        """Give the content its name. The caller must have verified the content before.

        Only the file that was verified gets the name, although it is named by its path. All transfers lock the file at
        the path of a partial file before they remove or rename it. We have that lock, so none does it after the check
        that the path still leads to our file. FileNotFoundError if it does not: a program that takes no lock, such as
        rm, has removed it.

        With `durable` the content and its name are on disk when this returns. FileExistsError if another program has
        created a file of that name meanwhile; the complete partial file then stays.
        """
        await work(self._commit, durable, self.path)

    def _commit(self, durable: bool) -> None:
        if not is_at(os.fstat(self._fd), self.partial):
            raise FileNotFoundError(errno.ENOENT, "another program removed its partial file; receive it again")
        if durable:
            # Before the rename: after a crash the name must never refer to incomplete content.
            run_blocking(file_durable(self._fd))
        if self._overwrite:
            os.replace(self.partial, self.path)
        else:
            self._name_new()
        if durable:
            run_blocking(directory_durable(os.path.dirname(self.path) or b"."))

    def _name_new(self) -> None:
        try:
            os.link(self.partial, self.path)  # unlike rename, link never replaces a file
        except OSError as error:
            if not is_unsupported(error) and error.errno != errno.EMLINK:
                raise
            # This file system has no hard links. A file that is created between this check and the rename is replaced.
            if os.path.lexists(self.path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
            os.rename(self.partial, self.path)
        else:
            unlink_own(self._fd, self.partial)

    def discard(self) -> None:
        """Delete what was received."""
        if self._fd >= 0:
            unlink_own(self._fd, self.partial)
            self.close()

    def close(self) -> None:
        """Close and unlock the partial file. It stays, unless it is empty."""
        if self._fd < 0:
            return
        status = os.fstat(self._fd)
        try:
            unwanted = not status.st_size or not self._resumable
            if unwanted:
                unlink_own(self._fd, self.partial)
        except OSError:
            pass  # an empty file that stays does no harm
        os.close(self._fd)  # releases the lock too
        self._fd = -1


class _OfAnotherUser(Exception):
    """The partial file belongs to another user, who could change what is in it at any time, or has it locked."""


def _open_locked(partial: bytes, wanted: bytes) -> int:
    while True:
        with suppress(FileNotFoundError):
            if os.lstat(partial).st_uid != os.geteuid():
                raise _OfAnotherUser
        fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            if os.fstat(fd).st_uid != os.geteuid():
                raise _OfAnotherUser
            try:
                locked = try_lock(fd)
            except NoFileLocks:
                if not os.fstat(fd).st_size:
                    unlink_own(fd, partial)  # no process writes to it: each finds that there are no locks
                raise
            if not locked:
                if locked_by_another_user(fd):
                    raise _OfAnotherUser
                raise RemoteError(
                    f"{os.fsdecode(wanted)} is being received by another process; wait for it, or name another file"
                )
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise FileExistsError(errno.EEXIST, "its partial file is not a regular file")
            current = is_at(status, partial)
            # Before we got the lock, its holder may have finished and renamed or deleted the partial file: try again.
            # If a crash interrupted a commit between link and unlink, the file has two names. It must not be written
            # to, because under the other name it is the user's file: delete this name and try again.
            if current and status.st_nlink == 1:
                return fd
            if current:
                os.unlink(partial)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
