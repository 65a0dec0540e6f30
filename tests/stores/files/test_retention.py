"""How long locks hold, whatever clocks and reboots do."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pannex.keys.key import Key
from p2pannex.service import RETENTION
from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.samples import key_of
from tests.stores.directories import upload_all
from tests.support.clocks import ManualClock


async def locked_and_lost(directory: Path, clock: ManualClock, boot: str = "boot-1") -> tuple[DirectoryStore, Key]:
    """A store in which a key was locked by a holder that is gone."""
    key = key_of(b"content")
    store = DirectoryStore(directory, clock=clock, boot=boot)
    await upload_all(store, key, b"content")
    lock = await store.lock(key)
    await lock.aclose()
    return store, key


async def test_a_lost_lock_holds_for_ten_minutes(directory: Path) -> None:
    clock = ManualClock()
    store, key = await locked_and_lost(directory, clock)
    clock.monotonic_now += RETENTION - 1
    assert not (await store.remove(key)).ok
    clock.monotonic_now += 2
    assert (await store.remove(key)).ok
    assert not list((directory / "annex" / "retention").iterdir()), "expired records are swept"


async def test_setting_the_wall_clock_moves_no_lock_within_a_boot(directory: Path) -> None:
    clock = ManualClock()
    store, key = await locked_and_lost(directory, clock)
    clock.wall_now += 10_000_000
    assert not (await store.remove(key)).ok
    clock.wall_now -= 20_000_000
    clock.monotonic_now += RETENTION + 1
    assert (await store.remove(key)).ok


async def test_after_a_reboot_the_wall_clock_decides(directory: Path) -> None:
    clock = ManualClock()
    _, key = await locked_and_lost(directory, clock)
    rebooted = DirectoryStore(directory, clock=clock, boot="boot-2")
    clock.monotonic_now = 5.0
    clock.wall_now += RETENTION - 1
    assert not (await rebooted.remove(key)).ok
    clock.wall_now += 2
    assert (await rebooted.remove(key)).ok


async def test_a_holder_that_stays_holds_as_long_as_it_stays(directory: Path) -> None:
    clock = ManualClock()
    store = DirectoryStore(directory, clock=clock)
    key = key_of(b"content")
    await upload_all(store, key, b"content")
    lock = await store.lock(key)
    clock.monotonic_now += 10 * RETENTION
    assert not (await DirectoryStore(directory, clock=clock).remove(key)).ok
    await lock.aclose()
    assert (await store.remove(key)).ok


async def test_each_of_several_locks_holds_by_itself(directory: Path) -> None:
    store = DirectoryStore(directory)
    key = key_of(b"content")
    await upload_all(store, key, b"content")
    first, second = await store.lock(key), await store.lock(key)
    assert first is not None
    assert second is not None
    await first.release()
    assert not (await store.remove(key)).ok
    await second.release()
    assert (await store.remove(key)).ok


@pytest.mark.parametrize("text", ["", "garbage\n", "1.0 what boot\n"])
async def test_a_record_that_cannot_be_read_holds(directory: Path, text: str) -> None:
    _, key = await locked_and_lost(directory, ManualClock())
    (record,) = (directory / "annex" / "retention").rglob("*/*")
    record.write_text(text)
    wall = record.stat().st_mtime
    early = DirectoryStore(directory, clock=ManualClock(wall_now=wall + RETENTION - 1))
    assert not (await early.remove(key)).ok
    late = DirectoryStore(directory, clock=ManualClock(wall_now=wall + RETENTION + 1))
    assert (await late.remove(key)).ok
