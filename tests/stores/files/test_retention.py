"""How long locks hold, whatever clocks and reboots do."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import RETENTION
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.files.retention_record import RELEASED
from p2pannex.system.clock import read_boot_id
from p2pannex.system.file_locks import try_lock
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


RECORDS = 2000


async def pile_up(directory: Path, keys: list[Key], text: str) -> None:
    for number in range(RECORDS):
        place = directory / "annex" / "retention" / str(keys[number % len(keys)])
        place.mkdir(exist_ok=True)
        (place / f"{number:016x}").write_text(text)


def left(directory: Path) -> int:
    return len(list((directory / "annex" / "retention").rglob("*/*")))


@pytest.mark.parametrize("keys", [1, 50, RECORDS])
@pytest.mark.parametrize("request_", ["lock", "remove", "close"])
async def test_expired_records_are_swept_by_any_requests(directory: Path, keys: int, request_: str) -> None:
    """A hundred by each: no request waits for all of them."""
    key = key_of(b"content")
    await pile_up(directory, [key_of(b"%d" % number) for number in range(keys)], "1.0 1.0 another-boot\n")
    for _ in range(RECORDS // 100):
        before = left(directory)
        async with DirectoryStore(directory) as store:
            await upload_all(store, key, b"content")
            if request_ == "lock":
                lock = await store.lock(key)
                assert lock is not None
                await lock.release()
            if request_ != "close":
                assert (await store.remove(key)).ok
        assert before - left(directory) <= 300
        os.unlink(store.layout.find(key)) if request_ == "close" else None
    assert not list((directory / "annex" / "retention").iterdir())


async def test_a_sweep_spares_what_is_valid_and_what_is_being_made(directory: Path) -> None:
    clock = ManualClock(wall_now=time.time())
    store, key = await locked_and_lost(directory, clock)
    being_made = directory / "annex" / "retention" / str(key) / ".0123456789abcdef"
    being_made.touch()
    connected = await store.lock(key)
    assert connected is not None
    store._retention.sweep()
    assert left(directory) == 3
    clock.advance(RETENTION + 1)
    store._retention.sweep()
    assert left(directory) == 1, "the one of the connected client is valid"
    assert not (await store.remove(key)).ok
    await connected.release()
    assert (await store.remove(key)).ok


async def test_many_valid_records_cost_a_removal_no_more_than_one(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(directory)
    key = key_of(b"content")
    await upload_all(store, key, b"content")
    await pile_up(directory, [key], f"{time.time() + 500} 1.0 another-boot\n")
    store._retention.sweep()
    opened: list[bytes] = []
    real_open = os.open

    def open_(path: bytes, *arguments: int) -> int:
        opened.append(path)
        return real_open(path, *arguments)

    monkeypatch.setattr(os, "open", open_)
    assert not (await store.remove(key)).ok
    assert len(opened) < 150


async def test_a_file_that_a_killed_process_left_does_not_lock(directory: Path) -> None:
    _, key = await locked_and_lost(directory, ManualClock())
    (record,) = (directory / "annex" / "retention").rglob("*/*")
    record.rename(record.with_name("." + record.name))
    store = DirectoryStore(directory, clock=ManualClock(), boot="boot-1")
    assert (await store.remove(key)).ok
    assert not list((directory / "annex" / "retention").iterdir())


async def test_a_lock_that_is_released_while_no_file_can_be_removed_does_not_bind(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: bytes) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    key = key_of(b"content")
    store = DirectoryStore(directory, clock=ManualClock())
    await upload_all(store, key, b"content")
    lock = await store.lock(key)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refused)
        await lock.release()
    assert list((directory / "annex" / "retention").rglob("*/*"))
    assert (await store.remove(key)).ok


async def test_a_record_marked_as_released_does_not_lock(directory: Path) -> None:
    _, key = await locked_and_lost(directory, ManualClock())
    (record,) = (directory / "annex" / "retention").rglob("*/*")
    record.write_bytes(RELEASED + record.read_bytes()[len(RELEASED) :])
    assert (await DirectoryStore(directory, clock=ManualClock(), boot="boot-1").remove(key)).ok


async def test_a_record_is_whole_and_locked_before_it_counts(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a sweep, which holds no exclusion, could take it for that of a lost client."""
    store = DirectoryStore(directory)
    key = key_of(b"content")
    await upload_all(store, key, b"content")
    real_rename = os.rename
    records: list[bytes] = []

    def rename(source: bytes, target: bytes) -> None:
        if b"/retention/" in target:
            assert os.path.basename(source).startswith(b"."), "until then it does not count"
            with open(source, "rb") as file:
                assert len(file.read().split()) == 3
                assert not try_lock(file.fileno(), shared=True)
            records.append(target)
        real_rename(source, target)

    monkeypatch.setattr(os, "rename", rename)
    async with await store.lock(key):
        assert len(records) == 1
        assert os.path.exists(records[0])


async def test_a_record_that_the_disk_takes_only_in_part_is_an_error(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(directory)
    key = key_of(b"content")
    await upload_all(store, key, b"content")
    real_write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, text: real_write(fd, text[:20]))
        with pytest.raises(RemoteError, match="disk is full"):
            await store.lock(key)
    assert left(directory) == 0
    assert (await store.remove(key)).ok


def test_without_a_boot_id_of_the_kernel_no_two_boots_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock then decides, as after a reboot."""

    def missing(*_: object, **__: object) -> object:
        raise FileNotFoundError

    assert read_boot_id() == read_boot_id()
    monkeypatch.setattr("builtins.open", missing)
    assert read_boot_id() != read_boot_id()


async def test_each_record_of_a_key_is_looked_at(directory: Path) -> None:
    clock = ManualClock()
    store, key = await locked_and_lost(directory, clock)
    (first,) = (directory / "annex" / "retention" / str(key)).iterdir()
    for number in range(20):
        (first.parent / f"{number:016x}").write_text("1.0 1.0 another-boot\n")
    assert not (await store.remove(key)).ok
    assert first.exists()


async def test_a_record_that_cannot_be_opened_or_listed_binds(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, key = await locked_and_lost(directory, ManualClock())
    for name in ("open", "listdir"):
        real = getattr(os, name)

        def fails(path: object, *arguments: object, _real: Callable[..., object] = real) -> object:
            if isinstance(path, bytes) and b"/retention/" in path:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return _real(path, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, name, fails)
            with pytest.raises(RemoteError, match="input/output error"):
                await store.remove(key)
        assert await store.check_present(key)
