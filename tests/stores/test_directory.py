"""The directory store's own promises: its layout, durability, crashes, time, several processes, disks that refuse."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from attrs import define

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import RETENTION, AlreadyHave, NotStored, Stored, Upload
from p2pannex.stores.directory import DirectoryStore, NotAStore
from p2pannex.stores.directory_config import read_uuid

HERE = Path(__file__).parent


def key_of(content: bytes, backend: str = "SHA256") -> Key:
    return Key.make(backend, hashlib.sha256(content).hexdigest().encode(), size=len(content))


async def upload_all(store: DirectoryStore, key: Key, content: bytes, *, valid: bool = True) -> Stored | NotStored:
    upload = await store.put(key)
    assert isinstance(upload, Upload)
    async with upload:
        await upload.begin(len(content) - upload.offset)
        await upload.send_all(memoryview(content)[upload.offset :])
        return await upload.finish(valid)


def files_below(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


@define
class SkewedClock:
    """Both clocks, for a test to set."""

    monotonic_now: float = 1000.0
    wall_now: float = 1_700_000_000.0

    def monotonic(self) -> float:
        return self.monotonic_now

    def wall(self) -> float:
        return self.wall_now


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    DirectoryStore.create(path)
    return path


# The directory itself -------------------------------------------------------------------------------------------


def test_create_and_open(tmp_path: Path) -> None:
    made = DirectoryStore.create(tmp_path / "new" / "store", uuid="u-1")
    opened = DirectoryStore(tmp_path / "new" / "store")
    assert made.uuid == opened.uuid == "u-1" == read_uuid(os.fsencode(tmp_path / "new" / "store"))


def test_create_refuses_what_is_there(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="is a p2pannex store already"):
        DirectoryStore.create(directory)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    with pytest.raises(RemoteError, match="not empty"):
        DirectoryStore.create(tmp_path / "full")
    for bad in ("two words", 'quo"te', ""):
        if bad:
            with pytest.raises(RemoteError, match="cannot be a uuid"):
                DirectoryStore.create(tmp_path / "bad", uuid=bad)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is no p2pannex store; make one with: p2pannex init"),
        ("", "no usable uuid"),
        ("uuid = 3\n", "no usable uuid"),
        ('uuid = "a b"\n', "no usable uuid"),
        ("uuid = \n", "cannot use"),
        ('uuid = "u"\ndisk_reserve = "lots"\n', "disk_reserve is a number of bytes"),
    ],
)
def test_open_says_what_is_wrong(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "p2pannex.toml").write_text(text)
    with pytest.raises(NotAStore, match=message) as caught:
        DirectoryStore(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ['uuid = "plain-1"\n', 'x=1\nuuid="plain-1" \n', "uuid = 'plain-1' # literal\n"])
def test_uuid_is_found_however_it_is_written(tmp_path: Path, text: str) -> None:
    (tmp_path / "p2pannex.toml").write_text(text)
    assert read_uuid(os.fsencode(tmp_path)) == DirectoryStore(tmp_path).uuid == "plain-1"


async def test_layout_is_that_of_a_bare_repository(directory: Path) -> None:
    key = Key.parse(b"WORM-s3-m1--a/b&c%d:e\xff")
    store = DirectoryStore(directory)
    await upload_all(store, key, b"abc")
    name = b"WORM-s3-m1--a%b&ac&sd&ce\xff"
    upper = hashlib.md5(key.raw).hexdigest()
    path = os.fsencode(directory) + b"/annex/objects/%s/%s/%s/%s" % (
        upper[:3].encode(),
        upper[3:6].encode(),
        name,
        name,
    )
    with open(path, "rb") as file:
        assert file.read() == b"abc"
    assert os.stat(path).st_mode & 0o777 == 0o444
    assert list(store.keys()) == [key]
    assert store.contents().keys == 1
    assert store.contents().bytes == 3


async def test_nothing_is_left_behind(directory: Path) -> None:
    store = DirectoryStore(directory)
    before = files_below(directory)
    for number in range(30):
        content = b"%d" % number
        assert await upload_all(store, key_of(content), content) == Stored()
        lock = await store.lock(key_of(content))
        assert lock is not None
        async with lock:
            pass
        assert (await store.remove(key_of(content))).ok
    await store.aclose()
    assert files_below(directory) == before
    assert not list((directory / "annex" / "objects").iterdir())
    assert not list((directory / "annex" / "retention").iterdir())


# Uploads --------------------------------------------------------------------------------------------------------


async def test_partial_is_resumed_by_another_process(directory: Path) -> None:
    content = os.urandom(3_000_000)
    key = key_of(content)
    upload = await DirectoryStore(directory).put(key)
    assert isinstance(upload, Upload)
    async with upload:
        await upload.begin(len(content))
        await upload.send_all(memoryview(content)[:2_000_000])
    again = DirectoryStore(directory)
    assert not await again.check_present(key)
    upload = await again.put(key)
    assert isinstance(upload, Upload)
    assert upload.offset == 2_000_000
    await upload.aclose()
    assert await upload_all(again, key, content) == Stored()
    assert await again.check_present(key)


async def test_wrong_content_is_neither_stored_nor_resumed_from(directory: Path) -> None:
    store = DirectoryStore(directory)
    key = key_of(b"right")
    assert await upload_all(store, key, b"wrong") == NotStored()
    assert not await store.check_present(key)
    assert files_below(directory / "annex" / "tmp") == set()
    assert await upload_all(store, key, b"right", valid=False) == Stored(), "INVALID, yet it verifies"


async def test_a_partial_that_was_damaged_is_found_out_and_dropped(directory: Path) -> None:
    content = os.urandom(500_000)
    key = key_of(content)
    store = DirectoryStore(directory)
    upload = await store.put(key)
    assert isinstance(upload, Upload)
    async with upload:
        await upload.begin(len(content))
        await upload.send_all(memoryview(content)[:300_000])
    partial = Path(os.fsdecode(store.layout.partial(key)))
    partial.write_bytes(bytes(300_000))
    assert await upload_all(store, key, content) == NotStored()
    assert await upload_all(store, key, content) == Stored()


async def test_a_partial_longer_than_its_key_begins_anew(directory: Path) -> None:
    store = DirectoryStore(directory)
    key = key_of(b"short")
    Path(os.fsdecode(store.layout.partial(key))).write_bytes(b"much too long")
    assert await upload_all(store, key, b"short") == Stored()


async def test_more_than_the_key_holds_is_refused_before_a_byte_is_written(directory: Path) -> None:
    upload = await DirectoryStore(directory).put(key_of(b"12345"))
    assert isinstance(upload, Upload)
    async with upload:
        with pytest.raises(RemoteError, match="6 bytes announced for a key of 5"):
            await upload.begin(6)


async def test_a_second_upload_waits_for_the_first(directory: Path) -> None:
    key = key_of(b"content")
    first = await DirectoryStore(directory).put(key)
    assert isinstance(first, Upload)
    answers: list[object] = []

    async def second() -> None:
        answers.append(await DirectoryStore(directory).put(key))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(second)
        await trio.sleep(0.1)
        assert answers == []
        async with first:
            await first.begin(7)
            await first.send_all(memoryview(b"content"))
            await first.finish(True)
    assert answers == [AlreadyHave()]


async def test_a_second_upload_is_refused_in_the_end(directory: Path, autojump_clock: trio.testing.MockClock) -> None:
    key = key_of(b"content")
    first = await DirectoryStore(directory).put(key)
    assert isinstance(first, Upload)
    async with first:
        with pytest.raises(RemoteError, match="another upload of this key is in progress"):
            await DirectoryStore(directory).put(key)


async def test_an_object_of_the_wrong_size_is_not_here_and_can_be_replaced(directory: Path) -> None:
    store = DirectoryStore(directory)
    key = key_of(b"content")
    await upload_all(store, key, b"content")
    path = Path(os.fsdecode(store.layout.find(key)))
    path.chmod(0o644)
    path.write_bytes(b"cont")  # what a failing disk, or a person, may do
    assert not await store.check_present(key)
    assert await store.lock(key) is None
    async with await store.get(key) as download:
        assert download.length == 0
        assert not await download.valid()
    assert await upload_all(store, key, b"content") == Stored()
    assert path.read_bytes() == b"content"


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


@pytest.mark.parametrize("failing", ["file", "directory"])
async def test_what_fsync_could_not_write_is_not_trusted(
    directory: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    real_fsync = os.fsync

    def fsync(fd: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}") == (failing == "directory"):
            raise OSError(errno.EIO, "input/output error")
        real_fsync(fd)

    store = DirectoryStore(directory)
    key = key_of(b"content")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(RemoteError, match="cannot store the content: the disk reports"):
            await upload_all(store, key, b"content")
    assert not await store.check_present(key)
    upload = await store.put(key)
    assert isinstance(upload, Upload)
    assert upload.offset == 0
    await upload.aclose()


# Locks, time ----------------------------------------------------------------------------------------------------


async def locked_and_lost(directory: Path, clock: SkewedClock, boot: str = "boot-1") -> tuple[DirectoryStore, Key]:
    """A store in which a key was locked by a holder that is gone."""
    key = key_of(b"content")
    store = DirectoryStore(directory, clock=clock, boot=boot)
    await upload_all(store, key, b"content")
    lock = await store.lock(key)
    assert lock is not None
    await lock.aclose()
    return store, key


async def test_a_lost_lock_holds_for_ten_minutes(directory: Path) -> None:
    clock = SkewedClock()
    store, key = await locked_and_lost(directory, clock)
    clock.monotonic_now += RETENTION - 1
    assert not (await store.remove(key)).ok
    clock.monotonic_now += 2
    assert (await store.remove(key)).ok
    assert not list((directory / "annex" / "retention").iterdir()), "expired records are swept"


async def test_setting_the_wall_clock_moves_no_lock_within_a_boot(directory: Path) -> None:
    clock = SkewedClock()
    store, key = await locked_and_lost(directory, clock)
    clock.wall_now += 10_000_000
    assert not (await store.remove(key)).ok
    clock.wall_now -= 20_000_000
    clock.monotonic_now += RETENTION + 1
    assert (await store.remove(key)).ok


async def test_after_a_reboot_the_wall_clock_decides(directory: Path) -> None:
    clock = SkewedClock()
    _, key = await locked_and_lost(directory, clock)
    rebooted = DirectoryStore(directory, clock=clock, boot="boot-2")
    clock.monotonic_now = 5.0
    clock.wall_now += RETENTION - 1
    assert not (await rebooted.remove(key)).ok
    clock.wall_now += 2
    assert (await rebooted.remove(key)).ok


async def test_a_holder_that_stays_holds_as_long_as_it_stays(directory: Path) -> None:
    clock = SkewedClock()
    store = DirectoryStore(directory, clock=clock)
    key = key_of(b"content")
    await upload_all(store, key, b"content")
    lock = await store.lock(key)
    assert lock is not None
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
    _, key = await locked_and_lost(directory, SkewedClock())
    (record,) = (directory / "annex" / "retention").rglob("*/*")
    record.write_text(text)
    wall = record.stat().st_mtime
    early = DirectoryStore(directory, clock=SkewedClock(wall_now=wall + RETENTION - 1))
    assert not (await early.remove(key)).ok
    late = DirectoryStore(directory, clock=SkewedClock(wall_now=wall + RETENTION + 1))
    assert (await late.remove(key)).ok


@pytest.mark.parametrize(("ahead", "removed"), [(-100, False), (-1, False), (0, False), (1, True), (100, True)])
async def test_removal_before_a_deadline(directory: Path, ahead: int, removed: bool) -> None:
    store = DirectoryStore(directory, clock=SkewedClock(monotonic_now=1000.9))
    key = key_of(b"content")
    await upload_all(store, key, b"content")
    assert await store.timestamp() == 1000
    assert (await store.remove(key, before=1000 + ahead)).ok == removed
    assert await store.check_present(key) != removed


async def test_removal_of_what_is_not_here_succeeds_whatever_the_deadline(directory: Path) -> None:
    assert (await DirectoryStore(directory).remove(key_of(b"never seen"), before=0)).ok


async def test_the_deadline_is_looked_at_after_the_wait_for_others(directory: Path) -> None:
    """A removal that had to wait for the key's exclusion is judged by the time at the end of its wait."""
    clock = SkewedClock()
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


# Crashes, several processes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("operation", "at_least"), [("put", 15), ("remove", 5), ("lock", 10)])
def test_kill_9_at_every_system_call(tmp_path: Path, operation: str, at_least: int) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "crash_points.py"), operation, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= at_least


def test_several_processes_serve_one_directory(directory: Path) -> None:
    program = HERE / "contend.py"
    children = [
        subprocess.Popen([sys.executable, str(program), str(directory), str(seed)], stderr=subprocess.PIPE, text=True)
        for seed in range(4)
    ]
    for child in children:
        _, errors = child.communicate(timeout=120)
        assert child.returncode == 0, errors
    store = DirectoryStore(directory)
    for key in store.keys():  # noqa: SIM118 - a method of the store
        content = Path(os.fsdecode(store.layout.find(key))).read_bytes()
        assert key == key_of(content)
    assert files_below(directory / "annex" / "tmp") == set()
    assert files_below(directory / "annex" / "retention") == set()


# Disks that refuse ----------------------------------------------------------------------------------------------


async def test_no_room_is_said_before_a_byte_is_sent(directory: Path) -> None:
    store = DirectoryStore(directory)
    store.disk_reserve = 1 << 62
    with pytest.raises(RemoteError, match="not enough disk space: 7 bytes to store, 0 free beyond the reserve"):
        await store.put(key_of(b"content"))
    assert files_below(directory / "annex" / "tmp") == set()


async def test_a_file_size_limit_in_the_middle_loses_nothing(directory: Path) -> None:
    content = os.urandom(400_000)
    key = key_of(content)
    store = DirectoryStore(directory)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(RemoteError, match="cannot store the content: the content is larger than a file may be"):
            await upload_all(store, key, content)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await upload_all(store, key, content) == Stored()


async def test_keys_with_names_too_long_for_a_file(directory: Path) -> None:
    store = DirectoryStore(directory)
    key = Key.parse(b"WORM-s3--" + b"x" * 300)
    assert not await store.check_present(key)
    assert await store.lock(key) is None
    assert (await store.remove(key)).ok
    assert (await store.get(key)).length == 0
    with pytest.raises(RemoteError, match="too long"):
        await store.put(key)


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
