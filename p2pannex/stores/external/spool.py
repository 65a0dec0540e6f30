"""A spool: files for content on its way to and from special remotes, which only store and fetch whole files.

::

    DIRECTORY/up/SHA256       content of an upload, running or interrupted
    DIRECTORY/down/NAME       content that is being fetched; it is unlinked when reading it begins

An upload is written to the spool, verified against its key, and then delivered to the remote. The file stays until the
delivery has succeeded. If the upload, the verification or the delivery is interrupted, the next upload of the key
resumes from the file.

One spool can serve any number of remotes: the content is written once, and `deliver` passes the file to all of them.

Uploads are `ObjectUpload`, as in stores that keep content in files. The spool keeps the lock of such an upload on the
file until the file was delivered. Files are named by a digest of the key, because the special remote protocol allows no
white space in their paths.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import NotStored, Stored, Upload
from p2pannex.stores.external.fetched import discard
from p2pannex.stores.files.partial_sweep import LISTED, SWEPT, remove_unlocked
from p2pannex.stores.files.partials import NoClaim
from p2pannex.stores.files.upload_wait import UploadWait
from p2pannex.stores.files.uploads import ObjectUpload
from p2pannex.system.directory_samples import some_names
from p2pannex.system.disk_errors import disk_errors, require_room
from p2pannex.system.disk_work import DiskWork, InThreads
from p2pannex.system.file_locks import KERNEL_LOCKS, is_at, unlink_own
from p2pannex.system.fsync_batch import Fsyncs

DISK_RESERVE = 100_000_000
"""Default of the bytes that are left free on the disk."""

STALE = 7 * 24 * 3600
"""Seconds without a write after which a spooled file is removed."""

_REMOVED = "another program removed the content from the spool; send it again"

Deliver = Callable[[bytes], Awaitable[Stored | NotStored]]
"""Stores the verified content in the file of this path. The file exists, and does not change, until it returns."""

Present = Callable[[], Awaitable[bool]]
"""Whether the content is present at the destination."""


class Spool:
    """The spool in `directory`, which is made if it is missing. RemoteError if its path contains white space.

    Any number of processes may use it at the same time. `disk_reserve` bytes are left free on its disk.
    """

    def __init__(self, directory: str | bytes | os.PathLike[str], *, disk_reserve: int = DISK_RESERVE) -> None:
        self.path = os.path.abspath(os.fsencode(directory))
        self.disk_reserve = disk_reserve
        if self.path.split() != [self.path]:
            raise RemoteError("the spool's path has a space in it, which the special remote protocol does not allow")
        with disk_errors("cannot make the spool directory"):
            for name in (b"up", b"down"):
                os.makedirs(os.path.join(self.path, name), mode=0o700, exist_ok=True)
            self._sweep()

    def _sweep(self) -> None:
        """Remove some files that killed processes left, and some uploads that were not resumed.

        They are chosen at random, so that none is left out for ever, and so few that starting does not take long.
        """
        oldest = time.time() - STALE
        for name in (b"up", b"down"):
            directory = os.path.join(self.path, name)
            for found in some_names(directory, LISTED, SWEPT):
                path = os.path.join(directory, found)
                with suppress(FileNotFoundError):
                    if os.lstat(path).st_mtime < oldest:
                        _remove_unlocked(path)

    async def upload(self, key: Key, deliver: Deliver, present: Present) -> Upload | None:
        """An upload that resumes where the last one of the key ended. Its outcome is that of `deliver`.

        None if another client has just finished an upload of the same key: the caller then has to check again whether
        the content is present. RemoteError if another upload of the key takes too long, or the disk has no room for the
        rest.
        """
        wait = UploadWait()
        waited = False
        while True:
            with disk_errors("cannot begin to store the content"):
                target = _Target(self, key)
                upload = ObjectUpload.open(target, key)
            if upload is not None:
                if waited and await _closing_on_error(upload, present):
                    upload.close()
                    return None
                return SpooledUpload(target, upload, deliver, present)
            wait.require()
            waited = True
            await wait.pause()

    def incoming(self, key: Key) -> bytes:
        """The path of a new file to fetch the content into. RemoteError if the disk has no room for it."""
        if key.size is not None:
            with disk_errors("cannot fetch the content"):
                system = os.statvfs(self.path)
            require_room(key.size, system, self.disk_reserve, to="fetch")
        return self.new_file()

    def new_file(self) -> bytes:
        """An unused path, which no other caller gets."""
        return os.path.join(self.path, b"down", secrets.token_hex(16).encode())


def _remove_unlocked(path: bytes) -> None:
    if not stat.S_ISREG(os.lstat(path).st_mode):
        discard(path)  # a program has left it, and p2pannex was killed before it could discard it
        return
    remove_unlocked(path)


async def _closing_on_error(upload: ObjectUpload, present: Present) -> bool:
    try:
        return await present()
    except BaseException:
        upload.close()
        raise


class _Target:
    """The store of one `ObjectUpload`. `commit` leaves the verified file in the spool, and locked for the delivery."""

    locks = KERNEL_LOCKS

    def __init__(self, spool: Spool, key: Key) -> None:
        self._directory = spool.path
        self._empty = spool.new_file()
        self.disk_reserve = spool.disk_reserve
        self.disk_work: DiskWork = InThreads()
        self.path = self.partial(key)
        self.verified = -1

    @property
    def layout(self) -> _Target:
        return self

    def partial(self, key: Key) -> bytes:
        return os.path.join(self._directory, b"up", hashlib.sha256(key.raw).hexdigest().encode())

    def prepare(self, path: bytes) -> bool:
        return False

    def share(self, path: bytes) -> None:
        pass  # only this user uses the spool

    async def check_present(self, key: Key) -> bool:
        await trio.lowlevel.checkpoint()
        return False

    def claim(self, key: Key) -> NoClaim:
        return NoClaim()

    async def changed(self, key: Key, present: bool) -> None:
        pass

    async def unchanged(self, key: Key, present: bool) -> None:
        pass

    def commit(self, key: Key, partial: bytes, fd: int) -> Fsyncs[None]:
        yield from ()  # no fsync is needed
        self.verified = os.dup(fd)  # the upload closes `fd`; the lock belongs to the open file, so this one keeps it

    def deliverable(self) -> bytes:
        """The path of the verified content. An upload removes its file if it is empty, so that needs another file."""
        status = os.fstat(self.verified)
        if status.st_size:
            if not is_at(status, self.path):
                raise RemoteError(_REMOVED)
            return self.path
        os.close(os.open(self._empty, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        return self._empty

    def delivered(self, path: bytes) -> None:
        """Remove the file that was delivered from `path`.

        RemoteError if another program has removed it, or another upload may have made a new one there: the remote may
        then have read that one. Uploads and sweeps do not do that, because we have the file locked.
        """
        if path == self._empty:
            os.unlink(path)
        elif not unlink_own(self.verified, path):
            raise RemoteError(_REMOVED)

    def release(self) -> None:
        fd, self.verified = self.verified, -1
        if fd >= 0:
            os.close(fd)


class SpooledUpload(Upload):
    """An upload into the spool, delivered when it is finished. Made by `Spool.upload`."""

    def __init__(self, target: _Target, upload: ObjectUpload, deliver: Deliver, present: Present) -> None:
        self._target = target
        self._upload = upload
        self._deliver = deliver
        self._present = present
        self.offset = upload.offset

    async def begin(self, length: int) -> None:
        await self._upload.begin(length)

    async def send_all(self, view: memoryview) -> None:
        await self._upload.send_all(view)

    async def finish(self, valid: bool) -> Stored | NotStored:
        try:
            outcome: Stored | NotStored = await self._upload.finish(valid)
            if isinstance(outcome, NotStored):
                return outcome
            with disk_errors("cannot store the content"):
                path = self._target.deliverable()
            outcome = await self._deliver(path)
            if isinstance(outcome, Stored):
                self._target.delivered(path)
            return outcome
        finally:
            self._target.release()

    async def data_present(self) -> Stored | NotStored:
        return Stored() if await self._present() else NotStored()

    async def aclose(self) -> None:
        self._target.release()
        await self._upload.aclose()
