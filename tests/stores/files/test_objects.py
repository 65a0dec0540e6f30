"""Objects: which are here, and which are removed by when."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from p2pannex.service import NotLocked, Stored
from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.samples import key_of
from tests.stores.directories import upload_all
from tests.support.clocks import ManualClock


async def test_an_object_of_the_wrong_size_is_not_here_and_can_be_replaced(directory: Path) -> None:
    store = DirectoryStore(directory)
    key = key_of(b"content")
    await upload_all(store, key, b"content")
    path = Path(os.fsdecode(store.layout.find(key)))
    path.chmod(0o644)
    path.write_bytes(b"cont")  # what a failing disk, or a person, may do
    assert not await store.check_present(key)
    with pytest.raises(NotLocked):
        await store.lock(key)
    async with await store.get(key) as download:
        assert download.length == 0
        assert not await download.valid()
    assert await upload_all(store, key, b"content") == Stored()
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize(("ahead", "removed"), [(-100, False), (-1, False), (0, False), (1, True), (100, True)])
async def test_removal_before_a_deadline(directory: Path, ahead: int, removed: bool) -> None:
    store = DirectoryStore(directory, clock=ManualClock(monotonic_now=1000.9))
    key = key_of(b"content")
    await upload_all(store, key, b"content")
    assert await store.timestamp() == 1000
    assert (await store.remove(key, before=1000 + ahead)).ok == removed
    assert await store.check_present(key) != removed


async def test_removal_of_what_is_not_here_succeeds_whatever_the_deadline(directory: Path) -> None:
    assert (await DirectoryStore(directory).remove(key_of(b"never seen"), before=0)).ok


async def test_the_deadline_is_looked_at_after_the_wait_for_others(directory: Path) -> None:
    """A removal that had to wait for the key's exclusion is judged by the time at the end of its wait."""
    clock = ManualClock()
    store = DirectoryStore(directory, clock=clock)
    key = key_of(b"content")
    await upload_all(store, key, b"content")
    results: list[bool] = []

    async def remove() -> None:
        results.append((await store.remove(key, before=1010)).ok)

    async with trio.open_nursery() as nursery:
        with store._exclusion.hold(key):
            nursery.start_soon(remove)
            await trio.sleep(0.1)
            clock.monotonic_now = 1010
    assert results == [False]
    assert await store.check_present(key)
