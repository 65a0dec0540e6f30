"""Files for content on its way to, or from, where it can only go as a whole file: special remotes.

::

    DIRECTORY/up/SHA256       content that is being uploaded, or was when something interrupted it
    DIRECTORY/down/NAME       content that is being fetched, which loses its name when it is read

An upload is spooled, verified against its key, and only then delivered. The file stays until it was: what interrupts
the upload, the verification or the delivery costs nothing but itself, and the next upload of the key goes on from what
is there. One spool may stand in front of any number of remotes: the content is written once, and `deliver` hands the
one file to all of them.

Uploads are those of the stores in files (`uploads.py`); the lock that these take on the file is kept until it was
delivered. Files are named by a digest of the key, because programs are told that their names have no spaces.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import NotStored, Stored, Upload
from p2pannex.stores.files.upload_wait import UploadWait
from p2pannex.stores.files.uploads import NoClaim, ObjectUpload
from p2pannex.system.disk_errors import disk_errors, require_room
from p2pannex.system.disk_work import DiskWork, InThreads
from p2pannex.system.file_locks import try_lock
from p2pannex.system.fsync_batch import Fsyncs

DISK_RESERVE = 100_000_000
"""Bytes that are left free on the disk, unless set otherwise."""

STALE = 7 * 24 * 3600
"""Seconds after which a file that nobody writes to is not waited for any more."""

Deliver = Callable[[bytes], Awaitable[Stored | NotStored]]
"""Takes the path of verified content, and sends it on. The file is there, and does not change, until it returns."""

Present = Callable[[], Awaitable[bool]]
"""Whether the content is where it is to be delivered."""


class Spool:
    """The spool in `directory`, which is made where it is missing. The directory's path has no white space.

    Any number of processes may use it at the same time. `disk_reserve` bytes are left free on its disk.
    """

    def __init__(self, directory: str | bytes | os.PathLike[str], *, disk_reserve: int = DISK_RESERVE) -> None:
        self.path = os.path.abspath(os.fsencode(directory))
        self.disk_reserve = disk_reserve
        if self.path.split() != [self.path]:
            raise RemoteError("special remote programs cannot take files of a directory that has a space in its name")
        with disk_errors("cannot make the spool directory"):
            for name in (b"up", b"down"):
                os.makedirs(os.path.join(self.path, name), mode=0o700, exist_ok=True)
            self._sweep()

    def _sweep(self) -> None:
        """Remove what killed processes left, and what nobody came to upload the rest of."""
        oldest = time.time() - STALE
        for name in (b"up", b"down"):
            with os.scandir(os.path.join(self.path, name)) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):
                        if entry.stat(follow_symlinks=False).st_mtime < oldest:
                            _remove_unlocked(entry.path)

    async def upload(self, key: Key, deliver: Deliver, present: Present) -> Upload | None:
        """An upload that resumes where the last one ended, and whose end is `deliver`'s.

        None where somebody else has just finished one of the same key: the caller looks again whether the content is
        there. RemoteError where another one goes on for too long, or there is no room for the rest.
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
        """The path of a new file to fetch the content into. RemoteError where there is no room for it."""
        if key.size is not None:
            with disk_errors("cannot fetch the content"):
                system = os.statvfs(self.path)
            require_room(key.size, system, self.disk_reserve, to="fetch")
        return self.new_file()

    def new_file(self) -> bytes:
        """A path that nobody else uses, and where nothing is yet."""
        return os.path.join(self.path, b"down", secrets.token_hex(16).encode())


def _remove_unlocked(path: bytes) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if try_lock(fd):  # who uploads has it locked, and looks after locking whether it is still there
            os.unlink(path)
    finally:
        os.close(fd)


async def _closing_on_error(upload: ObjectUpload, present: Present) -> bool:
    try:
        return await present()
    except BaseException:
        upload.close()
        raise


class _Target:
    """One upload's store: verified content stays where it is, and is still locked, for the delivery."""

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

    def present(self, key: Key) -> bool:
        return False

    def claim(self, key: Key) -> NoClaim:
        return NoClaim()

    async def changed(self, key: Key, present: bool) -> None:
        pass

    def commit(self, key: Key, partial: bytes, fd: int) -> Fsyncs[None]:
        yield from ()  # nothing more has to be on the disk
        self.verified = os.dup(fd)  # the upload closes its own; the lock is on the open file, and stays

    def deliverable(self) -> bytes:
        """The path of the verified content. An upload lets no empty file lie about: an empty content gets another."""
        if os.fstat(self.verified).st_size:
            return self.path
        os.close(os.open(self._empty, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        return self._empty

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
                with suppress(FileNotFoundError):
                    os.unlink(path)
            return outcome
        finally:
            self._target.release()

    async def data_present(self) -> Stored | NotStored:
        return Stored() if await self._present() else NotStored()

    async def aclose(self) -> None:
        self._target.release()
        await self._upload.aclose()
