"""Partials that no client continues."""

from __future__ import annotations

import os
import time
from pathlib import Path

import trio

from p2pannex.service import Upload
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.files.partial_sweep import INTERVAL
from p2pannex.testing.samples import key_of
from tests.stores.directories import upload_all
from tests.support.clocks import ManualClock

DAY = 24 * 3600


async def interrupted(store: DirectoryStore, content: bytes, days: float) -> Path:
    """The partial of an upload that was interrupted some days ago."""
    upload = await store.put(key_of(content))
    assert isinstance(upload, Upload)
    await upload.begin(len(content))
    await upload.send_all(memoryview(content)[:2])
    await upload.aclose()
    path = Path(os.fsdecode(store.layout.partial(key_of(content))))
    then = time.time() - days * DAY
    os.utime(path, (then, then))
    return path


async def test_old_partials_are_removed_when_the_store_is_closed(directory: Path) -> None:
    async with DirectoryStore(directory) as store:
        old, young = await interrupted(store, b"old", 31), await interrupted(store, b"young", 29)
    assert not old.exists()
    assert young.read_bytes() == b"yo"


async def test_old_partials_are_removed_while_clients_store_content(directory: Path) -> None:
    clock = ManualClock()
    clock.wall_now = time.time()
    store = DirectoryStore(directory, clock=clock)
    old = await interrupted(store, b"old", 31)
    await upload_all(store, key_of(b"other"), b"other")
    assert old.exists()
    clock.monotonic_now += INTERVAL + 1
    await upload_all(store, key_of(b"another"), b"another")
    assert not old.exists()


async def test_the_age_is_a_setting(directory: Path) -> None:
    config = directory / "p2pannex.toml"
    config.write_text(f"{config.read_text()}partial_days = 2\n")
    async with DirectoryStore(directory) as store:
        old, young = await interrupted(store, b"old", 2.1), await interrupted(store, b"young", 1.9)
    assert [old.exists(), young.exists()] == [False, True]


async def test_a_partial_that_is_being_received_stays(directory: Path) -> None:
    store = DirectoryStore(directory)
    old = await interrupted(store, b"old", 31)
    upload = await store.put(key_of(b"old"))
    assert isinstance(upload, Upload)
    os.utime(old, (0, 0))
    await trio.to_thread.run_sync(store._partial_sweep.sweep)
    assert old.exists()
    (directory / "annex" / "tmp" / "a-directory").mkdir()
    os.utime(directory / "annex" / "tmp" / "a-directory", (0, 0))
    await upload.aclose()
    os.utime(old, (0, 0))
    assert store._partial_sweep.sweep() == 1


async def test_many_old_partials_are_removed_by_several_sweeps(directory: Path) -> None:
    store = DirectoryStore(directory)
    for number in range(250):
        path = directory / "annex" / "tmp" / f"WORM-s9--{number}"
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
    assert [store._partial_sweep.sweep() for _ in range(4)] == [100, 100, 50, 0]
