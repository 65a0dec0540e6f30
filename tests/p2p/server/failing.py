"""A store that fails at named points."""

from __future__ import annotations

import pytest

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Download, Lock, NotStored, Removal, Stored, Upload
from p2pannex.stores.memory import MemoryStore
from tests.p2p.server.talk import U
from tests.support.keys import HELLO
from tests.support.keys import HELLO_KEY as K


class Failing(MemoryStore):
    """A store that fails with `error` at the points named in `at`, a transfer after `after` bytes."""

    def __init__(self, error: Exception, *at: str, after: int = 0) -> None:
        super().__init__(U)
        self.contents[K] = HELLO
        self.error = error
        self.at = at
        self.after = after

    def check(self, point: str) -> None:
        if point in self.at:
            raise self.error

    async def check_present(self, key: Key) -> bool:
        self.check("check_present")
        return await super().check_present(key)

    async def lock(self, key: Key) -> Lock:
        self.check("lock")
        return FailingLock(self, await super().lock(key))

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        self.check("remove")
        return await super().remove(key, before=before)

    async def timestamp(self) -> int:
        self.check("timestamp")
        return await super().timestamp()

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        self.check("put")
        upload = await super().put(key, file)
        assert isinstance(upload, Upload)
        return FailingUpload(self, upload)

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        self.check("get")
        return FailingDownload(self, await super().get(key, offset=offset, file=file))


class FailingLock(Lock):
    def __init__(self, store: Failing, lock: Lock) -> None:
        self._store = store
        self._lock = lock

    async def release(self) -> None:
        self._store.check("release")
        await self._lock.release()

    async def aclose(self) -> None:
        await self._lock.aclose()


class FailingUpload(Upload):
    def __init__(self, store: Failing, upload: Upload) -> None:
        self._store = store
        self._upload = upload
        self._got = 0
        self.offset = upload.offset

    async def begin(self, length: int) -> None:
        self._store.check("begin")
        await self._upload.begin(length)

    async def send_all(self, view: memoryview) -> None:
        self._got += len(view)
        if self._got > self._store.after:
            self._store.check("send_all")
        await self._upload.send_all(view)

    async def finish(self, valid: bool) -> Stored | NotStored:
        self._store.check("finish")
        return await self._upload.finish(valid)

    async def data_present(self) -> Stored | NotStored:
        self._store.check("data_present")
        return await self._upload.data_present()

    async def aclose(self) -> None:
        await self._upload.aclose()
        self._store.check("aclose")


class FailingDownload(Download):
    def __init__(self, store: Failing, download: Download) -> None:
        self._store = store
        self._download = download
        self._given = 0
        self.length = download.length

    async def readinto(self, view: memoryview) -> int:
        if self._given >= self._store.after:
            self._store.check("readinto")
        count = await self._download.readinto(view[:1000])
        self._given += count
        return count

    async def valid(self) -> bool:
        self._store.check("valid")
        return await self._download.valid()

    async def finish(self, received: bool) -> None:
        self._store.check("receipt")
        await self._download.finish(received)

    async def aclose(self) -> None:
        await self._download.aclose()


ERRORS = [RemoteError("the disk\nis full"), ConnectionLost("the disk\nis full")]
"""A request that fails, and a connection that a service had behind it: both are told, neither ends the conversation."""
TOLD = b"ERROR the disk is full\n"
each_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
