"""How many locks a store gives: beyond that it refuses the next one, and forgets none."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from p2pannex.keys.key import Key
from p2pannex.service import RETENTION, NotLocked
from p2pannex.stores.directory import DirectoryStore, NotAStore
from p2pannex.stores.files.retention import LockLimits
from p2pannex.testing.samples import key_of
from tests.stores.directories import upload_all
from tests.support.clocks import ManualClock


async def limited(directory: Path, clock: ManualClock, per_key: int, locks: int) -> tuple[DirectoryStore, list[Key]]:
    config = directory / "p2pannex.toml"
    config.write_text(f"{config.read_text()}locks_per_key = {per_key}\nlocks = {locks}\n")
    store = DirectoryStore(directory, clock=clock)
    contents = [b"%d" % number for number in range(6)]
    for content in contents:
        await upload_all(store, key_of(content), content)
    return store, [key_of(content) for content in contents]


async def test_a_content_with_all_its_locks_gets_no_other_one(directory: Path) -> None:
    clock = ManualClock()
    store, (key, other, *_) = await limited(directory, clock, 3, 1000)
    held = await store.lock(key)
    for _ in range(2):
        await (await store.lock(key)).aclose()
    for _ in range(2):
        with pytest.raises(NotLocked, match="the content is 3 times locked already"):
            await store.lock(key)
    await (await store.lock(other)).release()
    assert not (await store.remove(key)).ok
    await held.release()
    await (await store.lock(key)).aclose()
    clock.advance(RETENTION + 1)
    await (await store.lock(key)).release()
    assert (await store.remove(key)).ok


async def test_a_store_with_all_its_locks_locks_no_other_content(directory: Path) -> None:
    clock = ManualClock()
    store, keys = await limited(directory, clock, 1000, 4)
    for key in keys[:4]:
        await (await store.lock(key)).aclose()
    for key in keys[4:]:
        with pytest.raises(NotLocked, match="4 contents are locked already"):
            await store.lock(key)
        assert (await store.remove(key)).ok
    for key in keys[:4]:
        assert not (await store.remove(key)).ok, "none was forgotten"
        with pytest.raises(NotLocked, match="try again in ten minutes"):
            await store.lock(key)
    assert not (directory / "annex" / "retention" / str(keys[4])).exists()
    clock.advance(RETENTION + 1)
    await (await store.lock(keys[0])).release()


async def test_the_more_contents_are_locked_the_fewer_locks_has_each(directory: Path) -> None:
    store, keys = await limited(directory, ManualClock(), 1000, 12)
    for key in keys:
        await (await store.lock(key)).aclose()
    await (await store.lock(keys[0])).aclose()
    with pytest.raises(NotLocked):
        await store.lock(keys[0])


@pytest.mark.parametrize("setting", ["locks = 0", "locks_per_key = -1", "locks = true", 'partial_days = "x"'])
def test_a_bound_is_a_whole_number(directory: Path, setting: str) -> None:
    config = directory / "p2pannex.toml"
    config.write_text(f"{config.read_text()}{setting}\n")
    with pytest.raises(NotAStore, match=f"{setting.split()[0]} must be a whole number"):
        DirectoryStore(directory)


async def test_a_removal_among_all_locks_is_quick(directory: Path) -> None:
    """It runs on the event loop."""
    store, (key, *_) = await limited(directory, ManualClock(), 60_000, 60_000)
    await (await store.lock(key)).aclose()
    (record,) = (directory / "annex" / "retention" / str(key)).iterdir()
    for number in range(LockLimits().per_key):
        record.with_name(f"{number:016x}").write_bytes(record.read_bytes())
    times = []
    for _ in range(5):
        began = time.perf_counter()
        assert not (await store.remove(key)).ok
        times.append(time.perf_counter() - began)
    assert min(times) < 0.05
