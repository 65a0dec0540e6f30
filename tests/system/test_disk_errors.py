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
from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.samples import key_of
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
    content = os.urandom(2_000_000)
    unsized = Key.make("SHA256", hashlib.sha256(content).hexdigest().encode())
    upload = await store.put(unsized)
    assert isinstance(upload, Upload)
    async with upload:
        await upload.begin(len(content))
        with pytest.raises(RemoteError, match="the disk is full; make room and try again"):
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
