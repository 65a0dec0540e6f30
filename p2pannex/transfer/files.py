"""Files as the two ends of a transfer: one that content is received into, one that it is sent from.

A `ReceivingFile` writes to a partial beside the file that is wanted, hashing as it writes. The partial survives
whatever interrupts the transfer, and the next one goes on where it ended; its name holds a digest of the key, so that
what was received of one key is never continued with another's bytes. Only content that was verified gets the name that
the user asked for.

A `SendingFile` reads a file, and can tell whether it changed meanwhile.

Reading, writing and hashing of blocks that are worth a hop is done in a thread. Errors of these files come out as
OSError, with the name of the file that the user named.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

import trio

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key, Verifier
from p2pannex.transports.pump import BLOCK, SMALL_BODY

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

SUFFIX = b".p2pannex-partial"
_NAME_MAX = 255

A = TypeVar("A")
R = TypeVar("R")


def partial_path(path: bytes, key: Key) -> bytes:
    """Where content of `key` is kept on its way to `path`: `<path>.<16 hexadecimal digits>.p2pannex-partial`."""
    import hashlib

    directory, name = os.path.split(path)
    ending = b"." + hashlib.sha256(key.raw).hexdigest()[:16].encode() + SUFFIX
    if len(name) + len(ending) > _NAME_MAX:
        name = hashlib.sha256(name).hexdigest().encode()
    return os.path.join(directory, name + ending)


class _Closing:
    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ReceivingFile(_Closing):
    """A file that content of `key` is received into. Made by `open`, to be closed; `commit` gives it its name.

    reached: bytes of the content that are in the partial.
    verifier: has been fed exactly those.
    """

    def __init__(self, path: bytes, partial: bytes, fd: int, key: Key, *, overwrite: bool) -> None:
        self.path = path
        self.partial = partial
        self.reached = 0
        self.verifier: Verifier = key.verifier()
        self._key = key
        self._fd = fd
        self._overwrite = overwrite

    @classmethod
    async def open(cls, path: Path, key: Key, *, overwrite: bool = False) -> Self:
        """Lock the partial, and hash what an interrupted transfer left in it.

        FileExistsError where `path` is there already and `overwrite` is not set; RemoteError where another process
        is receiving the same.
        """
        wanted = os.fsencode(path)
        if os.path.isdir(wanted):
            raise _named(IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)), wanted)
        if not overwrite and os.path.lexists(wanted):
            raise _named(FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)), wanted)
        partial = partial_path(wanted, key)
        try:
            file = cls(wanted, partial, _open_locked(partial, wanted), key, overwrite=overwrite)
        except OSError as error:
            raise _named(error, wanted) from error
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
            # Nothing could tell whether old and new bytes belong together, or they certainly do not.
            await self.restart()
            return
        block = memoryview(bytearray(min(size, BLOCK)))
        while self.reached < size:
            count = await _work(self._hash, block, self.path)
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
        """Whether what is here has a digest, or a size, that is not the key's."""
        return not self.verifier.valid()

    async def send_all(self, view: memoryview) -> None:
        """Take the next bytes of the content. What fails to be written is not counted as reached."""
        await _work(self._write, view, self.path, hop=len(view) >= SMALL_BODY)

    def _write(self, view: memoryview) -> None:
        written = 0
        while written < len(view):
            written += os.pwrite(self._fd, view[written:], self.reached + written)
        self.verifier.update(view)
        self.reached += len(view)

    async def restart(self) -> None:
        """Forget what was received."""
        await trio.lowlevel.checkpoint()
        os.ftruncate(self._fd, 0)
        self.reached = 0
        self.verifier = self._key.verifier()

    async def commit(self, *, durable: bool = True) -> None:
        """Give the content its name. It was verified: that is the caller's duty.

        With `durable` it is on disk when this returns. FileExistsError where somebody else took the name meanwhile;
        the partial then stays, whole.
        """
        await _work(self._commit, durable, self.path)

    def _commit(self, durable: bool) -> None:
        if durable:
            # Before the name: a crash must never leave the name on content that is not there.
            os.fsync(self._fd)
        if self._overwrite:
            os.replace(self.partial, self.path)
        else:
            self._name_new()
        if durable:
            _sync_directory(os.path.dirname(self.path) or b".")

    def _name_new(self) -> None:
        try:
            os.link(self.partial, self.path)  # unlike rename, it never replaces
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
            # No hard links here. Between this look and the rename another program could take the name.
            if os.path.lexists(self.path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
            os.rename(self.partial, self.path)
        else:
            os.unlink(self.partial)

    def discard(self) -> None:
        """Delete what was received."""
        if self._fd >= 0:
            os.unlink(self.partial)
            self.close()

    def close(self) -> None:
        """Let go of the partial. It stays, unless it is empty."""
        if self._fd < 0:
            return
        status = os.fstat(self._fd)
        try:
            if status.st_nlink and not status.st_size and os.path.samestat(os.stat(self.partial), status):
                os.unlink(self.partial)
        except OSError:
            pass  # an empty file more or less
        os.close(self._fd)  # this ends the lock as well
        self._fd = -1


def _open_locked(partial: bytes, wanted: bytes) -> int:
    while True:
        fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RemoteError(
                    f"{os.fsdecode(wanted)} is being received by another process; wait for it, or name another file"
                ) from None
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise FileExistsError(errno.EEXIST, "its partial is not a regular file")
            try:
                current = os.path.samestat(os.stat(partial, follow_symlinks=False), status)
            except FileNotFoundError:
                current = False
            # While we waited for the lock, its holder may have finished and taken the partial away. And where a
            # crash came between the link and the unlink of a commit, it has two names: the other one's content is
            # the user's now, and must not be written to.
            if current and status.st_nlink == 1:
                return fd
            if current:
                os.unlink(partial)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


class SendingFile(_Closing):
    """A file that content is sent from. `size` is what it had when it was opened, in bytes."""

    def __init__(self, path: Path) -> None:
        """Open it. OSError where that fails; a directory or a device is refused as well."""
        self.path = os.fsencode(path)
        self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not hang us
        self._status = os.fstat(self._fd)
        if not stat.S_ISREG(self._status.st_mode):
            os.close(self._fd)
            raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(self.path))
        self.size = self._status.st_size
        self.position = 0

    async def readinto(self, view: memoryview) -> int:
        """The bytes at `position`, at least one. RemoteError where the file has become shorter than it was."""
        count = await _work(self._read, view, self.path, hop=len(view) >= SMALL_BODY)
        if not count and len(view):
            raise RemoteError(f"{os.fsdecode(self.path)} became shorter while it was sent; send it again")
        self.position += count
        return count

    def _read(self, view: memoryview) -> int:
        return os.preadv(self._fd, [view], self.position)

    def unchanged(self) -> bool:
        """Whether the name still stands for the same file, of the same size and modification time."""
        try:
            now = os.stat(self.path)
        except OSError:
            return False
        before = self._status
        return os.path.samestat(now, before) and (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _sync_directory(path: bytes) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems have nothing to do for a directory, and say so
            raise
    finally:
        os.close(fd)


def _named(error: OSError, path: bytes) -> OSError:
    """The same error, of the file that the user named."""
    return OSError(error.errno, error.strerror, os.fsdecode(path))


async def _work(function: Callable[[A], R], argument: A, path: bytes, *, hop: bool = True) -> R:
    """Do some disk work, in a thread where it is worth the `hop`."""
    try:
        if hop:
            return await trio.to_thread.run_sync(function, argument)
        await trio.lowlevel.checkpoint()
        return function(argument)
    except OSError as error:
        raise _named(error, path) from error
