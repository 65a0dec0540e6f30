"""Downloads of files that change meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.samples import key_of
from tests.stores.directories import upload_all


async def test_a_download_knows_that_the_file_changed_meanwhile(directory: Path) -> None:
    store = DirectoryStore(directory)
    key = key_of(b"content")
    await upload_all(store, key, b"content")
    async with await store.get(key) as download:
        path = Path(os.fsdecode(store.layout.find(key)))
        path.chmod(0o644)
        with path.open("ab") as file:
            file.write(b"!")
        assert not await download.valid()


async def test_a_download_knows_that_the_file_changed_and_kept_its_size(directory: Path) -> None:
    store = DirectoryStore(directory)
    key = key_of(b"content")
    await upload_all(store, key, b"content")
    async with await store.get(key) as download:
        os.utime(store.layout.find(key), ns=(0, 1))
        assert not await download.valid()


async def test_an_object_of_another_size_is_not_sent(directory: Path) -> None:
    """Nothing was read of it, and its permissions do not tell it."""
    store = DirectoryStore(directory)
    key = key_of(b"content")
    await upload_all(store, key, b"content")
    path = Path(os.fsdecode(store.layout.find(key)))
    path.chmod(0o644)
    os.truncate(path, 3)
    path.chmod(0o444)
    async with await store.get(key) as download:
        assert not await download.readinto(memoryview(bytearray(7)))
        assert not await download.valid()
