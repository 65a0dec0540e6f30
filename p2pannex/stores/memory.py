"""`MemoryStore`: a store in memory, for tests, caches and simulations. It is a full store, but not durable."""

from __future__ import annotations

import uuid as uuid_module

import trio

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key, Verifier
from p2pannex.service import (
    LOCKED,
    RETENTION,
    TOO_LATE,
    AlreadyHave,
    Download,
    Lock,
    NotLocked,
    NotStored,
    Removal,
    Service,
    Stored,
    Upload,
)
from p2pannex.system.clock import Clock, SystemClock


class MemoryStore(Service):
    """A store that keeps content in the dictionary `contents`. `clock` is its clock, which tests can skew."""

    def __init__(self, uuid: str | None = None, *, clock: Clock | None = None) -> None:
        self.uuid = uuid or str(uuid_module.uuid4())
        self.clock = clock or SystemClock()
        self.contents: dict[Key, bytes] = {}
        self.partials: dict[Key, bytearray] = {}
        self._uploading: set[Key] = set()
        self._locks: dict[Key, set[_MemoryLock]] = {}

    async def check_present(self, key: Key) -> bool:
        await trio.lowlevel.checkpoint()
        return key in self.contents

    async def lock(self, key: Key) -> Lock:
        await trio.lowlevel.checkpoint()
        if key not in self.contents:
            raise NotLocked(f"{key} is not present")
        lock = _MemoryLock(self, key)
        self._locks.setdefault(key, set()).add(lock)
        return lock

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        await trio.lowlevel.checkpoint()
        # There is no await from here on, so no lock can be taken between the check and the removal.
        if key not in self.contents:
            return Removal(True)
        now = self.clock.monotonic()
        valid = {lock for lock in self._locks.get(key, ()) if lock.is_valid(now)}
        if valid:
            self._locks[key] = valid
            return Removal(False, reason=LOCKED)
        self._locks.pop(key, None)
        if before is not None and int(self.clock.monotonic()) >= before:
            return Removal(False, reason=TOO_LATE)
        del self.contents[key]
        return Removal(True)

    async def timestamp(self) -> int:
        await trio.lowlevel.checkpoint()
        return int(self.clock.monotonic())

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        await trio.lowlevel.checkpoint()
        if key in self.contents:
            return AlreadyHave()
        if (missing := key.missing_hash) is not None:
            raise RemoteError(missing)
        if key in self._uploading:
            raise RemoteError("another client is uploading this key; try again when it is done")
        return _MemoryUpload(self, key)

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        await trio.lowlevel.checkpoint()
        return _MemoryDownload(self.contents.get(key), offset)


class _MemoryLock(Lock):
    def __init__(self, store: MemoryStore, key: Key) -> None:
        self._store = store
        self._key = key
        self._until = store.clock.monotonic() + RETENTION
        self._open = True

    def is_valid(self, now: float) -> bool:
        return self._open or now < self._until

    async def release(self) -> None:
        self._open = False
        self._store._locks.get(self._key, set()).discard(self)
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self._open = False
        await trio.lowlevel.checkpoint()


class _MemoryUpload(Upload):
    def __init__(self, store: MemoryStore, key: Key) -> None:
        self._store = store
        self._key = key
        self._partial = store.partials.setdefault(key, bytearray())
        self.offset = len(self._partial)
        self._verifier: Verifier | None = None
        store._uploading.add(key)
        self._open = True

    async def begin(self, length: int) -> None:
        size = self._key.size
        if size is not None and self.offset + length > size:
            raise RemoteError(f"{self.offset + length} bytes announced for a key of {size}")
        self._verifier = self._key.verifier()
        self._verifier.update(bytes(self._partial))
        await trio.lowlevel.checkpoint()

    async def send_all(self, view: memoryview) -> None:
        assert self._verifier is not None, "begin comes first"
        if not self._open:
            raise ConnectionLost("this upload is closed")
        self._partial += view
        self._verifier.update(view)
        await trio.lowlevel.checkpoint()

    async def finish(self, valid: bool) -> Stored | NotStored:
        assert self._verifier is not None, "begin comes first"
        await trio.lowlevel.checkpoint()
        verifier, partials = self._verifier, self._store.partials
        if verifier.valid() and (valid or verifier.conclusive):
            self._store.contents[self._key] = bytes(partials.pop(self._key))
            return Stored()
        if not (valid or verifier.conclusive):
            del self._partial[self.offset :]  # the sender sent INVALID, and the key has no digest to check them with
            return NotStored()
        complete = valid if self._key.size is None else len(self._partial) >= self._key.size
        if complete:
            del partials[self._key]  # complete but wrong: the next upload must start from the beginning
        return NotStored()

    async def data_present(self) -> Stored | NotStored:
        await trio.lowlevel.checkpoint()
        return Stored() if self._key in self._store.contents else NotStored()

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            self._store._uploading.discard(self._key)
            if not self._partial and self._store.partials.get(self._key) is self._partial:
                del self._store.partials[self._key]
        await trio.lowlevel.checkpoint()


class _MemoryDownload(Download):
    def __init__(self, content: bytes | None, offset: int) -> None:
        self._present = content is not None
        self._rest = memoryview(content or b"")[offset:]
        self.length = len(self._rest)

    async def readinto(self, view: memoryview) -> int:
        await trio.lowlevel.checkpoint()
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    async def valid(self) -> bool:
        await trio.lowlevel.checkpoint()
        return self._present

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
