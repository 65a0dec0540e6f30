"""Other users of the machine, who may read a directory store, cannot stop it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pannex.keys.key import Key
from p2pannex.service import Upload
from p2pannex.stores.directory import WRITERS_ONLY, DirectoryStore
from tests.stores.directories import upload_all
from tests.support.keys import HELLO_KEY as K
from tests.support.other_user import AS_OTHER, locking, needs_root, reachable

OTHER_KEY = Key(b"WORM-s5--other")


@pytest.fixture
def directory() -> Iterator[Path]:
    with reachable() as path:
        before = os.umask(0o022)
        yield path
        os.umask(before)


async def leave_partial(store: DirectoryStore) -> None:
    partial = await store.put(OTHER_KEY)
    assert isinstance(partial, Upload)
    await partial.begin(5)
    await partial.send_all(memoryview(b"hel"))
    await partial.aclose()


def every_file(path: Path) -> list[Path]:
    return [path, *path.rglob("*")]


@needs_root
async def test_all_that_can_be_locked_is_locked(directory: Path) -> None:
    store = DirectoryStore.create(directory / "store")
    await upload_all(store, K, b"hello")
    lock = await store.lock(K)
    await leave_partial(store)
    with locking(*every_file(directory)) as held:
        assert held > 5, "nothing could be opened"
        await lock.release()
        await upload_all(store, OTHER_KEY, b"hello")
        assert (await store.remove(K)).ok
    await store.aclose()


@needs_root
async def test_readers_see_no_locked_file(directory: Path) -> None:
    DirectoryStore.create(directory / "store")
    for name in WRITERS_ONLY:
        listed = os.spawnvp(os.P_WAIT, AS_OTHER[0], [*AS_OTHER, "ls", str(directory / "store/annex" / name.decode())])
        assert listed != 0


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o700), (0o002, 0o770), (0o077, 0o700)])
async def test_those_who_may_write_may_lock(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        store = DirectoryStore.create(tmp_path / "store")
        for name in WRITERS_ONLY:
            path = tmp_path / "store/annex" / name.decode()
            assert path.stat().st_mode & 0o777 == mode
            path.chmod(mode | 0o055)
        DirectoryStore(tmp_path / "store")  # one that an earlier version has made
        for name in WRITERS_ONLY:
            assert (tmp_path / "store/annex" / name.decode()).stat().st_mode & 0o777 == mode
        partial = await store.put(K)
        assert isinstance(partial, Upload)
        await partial.begin(5)
        await partial.send_all(memoryview(b"hel"))
        path = tmp_path / "store/annex/tmp" / os.fsdecode(K.file_name)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
        await partial.aclose()
        lock_records = tmp_path / "store/annex/retention"
        await upload_all(store, K, b"hello")
        await store.lock(K)
        (record,) = (path for path in lock_records.rglob("*") if path.is_file())
        assert stat.S_IMODE(record.stat().st_mode) == 0o666 & ~umask
    finally:
        os.umask(before)


async def test_the_group_of_the_directory_may_use_all_that_is_in_it(tmp_path: Path) -> None:
    """Whatever the umask of the member is who made it: no member can block a key for the others."""
    before = os.umask(0o077)
    try:
        path = tmp_path / "store"
        path.mkdir()
        path.chmod(0o2770)
        store = DirectoryStore.create(path)
        await upload_all(store, K, b"hello")
        lock = await store.lock(K)
        await leave_partial(store)
        for each in (path / "annex").rglob("*"):
            mode = each.stat().st_mode
            if stat.S_ISDIR(mode):
                assert mode & 0o2070 == 0o2070, each
            elif "objects" in each.parts:
                assert mode & 0o070 == 0o040, each
            else:
                assert mode & 0o070 == 0o060, each
        await lock.release()
        await store.aclose()
    finally:
        os.umask(before)
