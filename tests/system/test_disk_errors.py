"""Disks that are full or read-only."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import Upload
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.stores.directory import DirectoryStore
from p2pannex.system.disk_errors import require_room
from p2pannex.testing.samples import key_of
from p2pannex.testing.samples import store as store_content
from tests.stores.annex.repository import make
from tests.stores.directories import upload_all


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a mebibyte. Mounting one takes root."""
    mount = shutil.which("mount")
    path = tmp_path / "disk"
    path.mkdir()
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "none", str(path)]).returncode:
        pytest.skip("mounting a small file system is not allowed here (it takes root)")
    yield path
    subprocess.run(["umount", str(path)], check=True)


async def test_a_full_disk(small_disk: Path) -> None:
    store = DirectoryStore.create(small_disk / "store", disk_reserve=0)
    await upload_all(store, key_of(b"before"), b"before")
    content = os.urandom(800_000)
    unsized = Key.make("SHA256", hashlib.sha256(content).hexdigest().encode())
    upload = await store.put(unsized)
    assert isinstance(upload, Upload)
    async with upload:
        with pytest.raises(RemoteError, match="not enough disk space: 2000000 bytes to store"):
            await upload.begin(2_000_000)
        await upload.begin(len(content))
        (small_disk / "another program's").write_bytes(bytes(400_000))
        with pytest.raises(RemoteError, match=r"the disk is full; free \d{6} more bytes and try again"):
            await upload.send_all(memoryview(content))
    assert await store.check_present(key_of(b"before"))
    assert not await store.check_present(unsized)


async def test_a_read_only_disk(small_disk: Path) -> None:
    store = DirectoryStore.create(small_disk / "store", disk_reserve=0)
    key = key_of(b"content")
    await upload_all(store, key, b"content")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert await store.check_present(key)
    async with await store.get(key) as download:
        assert download.length == 7
    for refused in (store.put(key_of(b"more")), store.remove(key), store.lock(key)):
        with pytest.raises(RemoteError, match="the file system is read-only"):
            await refused


@pytest.mark.parametrize("kind", ["directory", "repository"])
async def test_a_lock_that_failed_on_a_full_disk_does_not_bind(small_disk: Path, kind: str) -> None:
    place = small_disk / "store"
    if kind == "directory":
        DirectoryStore.create(place, disk_reserve=0)
    else:
        make(place, "--bare", "--template=", annex_diskreserve="0")
    open_store = DirectoryStore if kind == "directory" else AnnexStore
    async with open_store(place) as store:
        key = key_of(b"content")
        await store_content(store, b"content")
        filler = small_disk / "filler"
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        filler.write_bytes(bytes(free))
        with pytest.raises(RemoteError, match="the disk is full"):
            await store.lock(key)
        filler.unlink()
    async with open_store(place) as store:
        assert (await store.remove(key)).ok


def test_room_is_what_other_users_than_root_may_use(tmp_path: Path) -> None:
    """File systems reserve blocks for root. What an owner wants to stay free is not used either."""
    fields = list(os.statvfs(tmp_path))
    block, blocks, free, available = 1, 2, 3, 4
    fields[block], fields[blocks], fields[free], fields[available] = 100, 1000, 500, 30
    system = os.statvfs_result(fields)
    require_room(2000, system, 1000, to="store")
    with pytest.raises(RemoteError, match="2001 bytes to store, 2000 free beyond the reserve of 1000"):
        require_room(2001, system, 1000, to="store")
    with pytest.raises(RemoteError, match="1 bytes to fetch, 0 free"):
        require_room(1, system, 5000, to="fetch")
