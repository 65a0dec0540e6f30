"""Every call into the file system fails once, with each errno: the old or the new state is left, and no lock binds.

Also where the disk stays full after the first call that failed for that reason.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
import pytest

from p2pannex.errors import RemoteError
from p2pannex.service import AlreadyHave, Lock
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.files.objects import ObjectStore
from p2pannex.system.disk_work import Inline
from p2pannex.testing.samples import fetch, key_of, store
from tests.stores.kinds import make_store
from tests.support.failing_calls import ERRNOS, FULL, failing_at

CONTENT = b"content that is stored, locked and removed"
KEY = key_of(CONTENT)

FAULTS = {
    "directory": [(number, False) for number in ERRNOS] + [(number, True) for number in FULL],
    "repository": [(errno.EPERM, False), (errno.EIO, False), (errno.ENOSPC, True)],
    "bare repository": [(errno.EXDEV, False), (errno.EROFS, False), (errno.EDQUOT, True)],
}
"""For each kind of store: errnos, and whether the disk stays full. A repository has many more calls."""


@attrs.frozen
class Stores:
    """A store that a client uses, and the same one as another process sees it."""

    here: ObjectStore
    elsewhere: ObjectStore
    place: bytes
    kind: str

    async def logged(self) -> bool:
        """Whether the location log says that the content is present; as the disk says if there is no log."""
        if isinstance(self.elsewhere, AnnexStore):
            return self.elsewhere.uuid in await self.elsewhere._branch.locations(KEY)
        return await self.elsewhere.check_present(KEY)


@asynccontextmanager
async def opened(kind: str, memory: Path) -> AsyncIterator[Stores]:
    place = memory / "place"
    make_store(kind, place)
    async with AsyncExitStack() as stack:
        stores: list[ObjectStore] = []
        for _ in range(2):
            one = (DirectoryStore if kind == "directory" else AnnexStore)(place, disk_work=Inline())
            stores.append(await stack.enter_async_context(one))
        yield Stores(stores[0], stores[1], os.fsencode(place), kind)


async def every_fault(
    stores: Stores,
    prepare: Callable[[], Awaitable[object]],
    operation: Callable[[], Awaitable[object]],
    check: Callable[[object], Awaitable[None]],
) -> int:
    """Run the operation with a fault at each of its calls; `check` gets its result or its error."""
    points = 0
    for number, stays_full in FAULTS[stores.kind]:
        for n in itertools.count(1):
            await prepare()
            result: object
            with failing_at(n, number, stores.place, stays_full=stays_full) as calls:
                try:
                    result = await operation()
                except RemoteError as error:
                    result = error
                except BaseException as error:
                    error.add_note(f"call {n}, {calls.made[-1:]}, failed with {os.strerror(number)}")
                    raise
            try:
                await check(result)
            except BaseException as error:
                error.add_note(f"after {result!r}: call {n}, {calls.failed}, failed with {os.strerror(number)}")
                error.add_note(f"stays full: {stays_full}; {calls.made}")
                raise
            if calls.failed is None:
                assert not isinstance(result, RemoteError)
                break
            points += 1
    return points


@pytest.mark.parametrize("before", ["first lock", "after a lost client"])
@pytest.mark.parametrize("kind", FAULTS)
async def test_a_lock_that_failed_does_not_bind(kind: str, before: str, memory: Path) -> None:
    async with opened(kind, memory) as stores:

        async def lock() -> Lock | None:
            return await stores.here.lock(KEY)

        async def check(result: object) -> None:
            if isinstance(result, Lock):
                assert not (await stores.elsewhere.remove(KEY)).ok, "a lock that was given holds"
                await result.release()
            if kind != "directory":
                beside = os.listdir(os.path.dirname(stores.here.layout.find(KEY)))
                assert not [name for name in beside if name.endswith(b".rtm")], "git-annex would obey it"
            assert (await stores.elsewhere.remove(KEY)).ok, "it binds, though the client was told that it failed"

        async def prepare() -> None:
            await store(stores.here, CONTENT, KEY)
            if before != "first lock":
                given = await stores.elsewhere.lock(KEY)
                assert given is not None
                await given.release()

        assert await every_fault(stores, prepare, lock, check) > 50


@pytest.mark.parametrize("kind", FAULTS)
async def test_a_lock_that_failed_leaves_the_others(kind: str, memory: Path) -> None:
    async with opened(kind, memory) as stores:
        locks: list[Lock] = []

        async def lock() -> Lock | None:
            return await stores.here.lock(KEY)

        async def check(result: object) -> None:
            assert not (await stores.elsewhere.remove(KEY)).ok, "another client has it locked"
            if isinstance(result, Lock):
                await result.release()
            assert not (await stores.elsewhere.remove(KEY)).ok
            await locks.pop().release()
            assert (await stores.elsewhere.remove(KEY)).ok, "only the failed lock is left"

        async def prepare() -> None:
            await store(stores.here, CONTENT, KEY)
            given = await stores.elsewhere.lock(KEY)
            assert given is not None
            locks.append(given)

        await every_fault(stores, prepare, lock, check)


@pytest.mark.parametrize("kind", FAULTS)
async def test_an_unlock_that_failed_leaves_the_lock_or_nothing(kind: str, memory: Path) -> None:
    async with opened(kind, memory) as stores:
        locks: list[Lock] = []

        async def unlock() -> None:
            await locks[-1].release()

        async def check(result: object) -> None:
            removed = (await stores.elsewhere.remove(KEY)).ok
            assert removed or isinstance(result, RemoteError), "an unlock that failed says so"
            if not removed and kind != "directory":
                # git-annex's timestamp stays. The next client that unlocks removes it.
                given = await stores.elsewhere.lock(KEY)
                assert given is not None
                await given.release()
                removed = (await stores.elsewhere.remove(KEY)).ok
            assert removed

        async def prepare() -> None:
            await store(stores.here, CONTENT, KEY)
            given = await stores.here.lock(KEY)
            assert given is not None
            locks.append(given)

        await every_fault(stores, prepare, unlock, check)


@pytest.mark.parametrize("kind", FAULTS)
async def test_an_upload_that_failed_leaves_the_old_or_the_new(kind: str, memory: Path) -> None:
    async with opened(kind, memory) as stores:

        async def upload() -> object:
            upload = await stores.here.put(KEY)
            if isinstance(upload, AlreadyHave):
                return upload
            async with upload:
                await upload.begin(len(CONTENT) - upload.offset)
                await upload.send_all(memoryview(CONTENT)[upload.offset :])
                return await upload.finish(True)

        async def check(result: object) -> None:
            if await stores.elsewhere.check_present(KEY):
                assert await fetch(stores.elsewhere, KEY) == CONTENT
            else:
                assert isinstance(result, RemoteError)
            if not isinstance(result, RemoteError):
                assert await stores.logged()
            await store(stores.elsewhere, CONTENT, KEY)
            assert await stores.logged(), "the next request finds out what the log lacks"

        async def prepare() -> None:
            assert (await stores.elsewhere.remove(KEY)).ok

        await every_fault(stores, prepare, upload, check)


@pytest.mark.parametrize("kind", FAULTS)
async def test_a_removal_that_failed_leaves_the_old_or_the_new(kind: str, memory: Path) -> None:
    async with opened(kind, memory) as stores:

        async def remove() -> object:
            return (await stores.here.remove(KEY)).ok

        async def check(result: object) -> None:
            present = await stores.elsewhere.check_present(KEY)
            assert not present or isinstance(result, RemoteError)
            if present:
                assert await fetch(stores.elsewhere, KEY) == CONTENT
            if result is True:
                assert not await stores.logged()
            assert (await stores.elsewhere.remove(KEY)).ok
            assert not await stores.logged(), "the next request finds out what the log lacks"

        async def prepare() -> None:
            await store(stores.elsewhere, CONTENT, KEY)

        await every_fault(stores, prepare, remove, check)


@pytest.mark.parametrize("client", ["connected", "lost"])
@pytest.mark.parametrize("kind", FAULTS)
async def test_no_fault_lets_locked_content_be_removed(kind: str, client: str, memory: Path) -> None:
    """A record that cannot be read, or listed, is not taken for none."""
    async with opened(kind, memory) as stores:
        await store(stores.here, CONTENT, KEY)
        lock = await stores.elsewhere.lock(KEY)
        if client == "lost":
            await lock.aclose()

        async def remove() -> object:
            return (await stores.here.remove(KEY)).ok

        async def check(result: object) -> None:
            assert result is not True
            assert await stores.elsewhere.check_present(KEY)

        async def prepare() -> None:
            pass

        assert await every_fault(stores, prepare, remove, check) > 5
        await lock.aclose()


@pytest.mark.parametrize("kind", FAULTS)
async def test_content_whose_name_may_not_be_on_disk_is_not_kept(
    kind: str, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client got an error, and a power failure could remove the content that others may have counted."""
    real_fsync = os.fsync

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real_fsync(fd)

    async with opened(kind, memory) as stores:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            with pytest.raises(RemoteError):
                await store(stores.here, CONTENT, KEY)
        assert not await stores.elsewhere.check_present(KEY)
