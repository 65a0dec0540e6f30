"""The disk reserve stays free, however many uploads there are at the same time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import Upload
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.files.room import ALLOCATE, Room
from p2pannex.system.allocation import allocate

MB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of our own, to which no other process writes."""
    path = tmp_path / "disk"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", path], capture_output=True).returncode:
        pytest.skip("only root can mount a file system")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def store_with_room(path: Path, size: int) -> DirectoryStore:
    """A store on a disk with room for so many bytes beyond the reserve."""
    store = DirectoryStore.create(path / "store")
    system = os.statvfs(path)
    store.disk_reserve = system.f_bavail * system.f_frsize - size
    return store


async def begun(store: DirectoryStore, key: str, length: int) -> Upload:
    upload = await store.put(Key(key))
    assert isinstance(upload, Upload)
    try:
        await upload.begin(length)
    except RemoteError:
        await upload.aclose()
        raise
    return upload


async def refusal(upload: Upload, blocks: list[memoryview]) -> str:
    """Why one of the blocks was not written; empty if all were."""
    try:
        for block in blocks:
            await upload.send_all(block)
    except RemoteError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("key", [f"WORM-s{20 * MB}--%d", "WORM--%d"])
async def test_what_was_announced_to_other_uploads_counts(disk: Path, key: str) -> None:
    store = store_with_room(disk, 50 * MB)
    other = DirectoryStore(disk / "store")  # as another process
    other.disk_reserve = store.disk_reserve
    first = await begun(store, key % 1, 20 * MB)
    second = await begun(other, key % 2, 20 * MB)
    for number, each in ((3, store), (4, other)):
        with pytest.raises(RemoteError, match="not enough disk space"):
            await begun(each, key % number, 20 * MB)
    await first.aclose()
    third = await begun(store, key % 3, 20 * MB)
    await third.send_all(memoryview(bytes(2 * MB)))
    await third.aclose()
    assert os.path.getsize(store.layout.partial(Key(key % 3))) == 2 * MB, "what arrived stays, and no more"
    await (await begun(store, key % 4, 20 * MB)).aclose()
    await second.aclose()


async def test_small_uploads_look_before_each_write(disk: Path) -> None:
    store = store_with_room(disk, 2 * MB)
    uploads = [await begun(store, f"WORM-s{ALLOCATE - 1}--{number}", ALLOCATE - 1) for number in range(4)]
    content = memoryview(bytes(ALLOCATE - 1))
    blocks = [content[start : start + (1 << 16)] for start in range(0, ALLOCATE, 1 << 16)]
    refusals = [await refusal(upload, blocks) for upload in uploads]
    assert "" in refusals
    assert "not enough disk space" in refusals[-1]
    system = os.statvfs(disk)
    assert system.f_bavail * system.f_frsize >= store.disk_reserve
    for upload in uploads:
        await upload.aclose()


async def test_where_room_cannot_be_taken_each_write_looks(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pannex.stores.files.room.allocate", lambda fd, offset, length: False)
    store = store_with_room(disk, 30 * MB)
    uploads = [await begun(store, f"WORM--{number}", 20 * MB) for number in range(2)]
    block = memoryview(bytes(MB))
    for _ in range(14):
        for upload in uploads:
            await upload.send_all(block)
    assert not await refusal(uploads[0], [block])
    assert "not enough disk space" in await refusal(uploads[0], [block] * 4)
    for upload in uploads:
        await upload.aclose()


def test_several_that_take_room_at_the_same_moment(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each looks before it takes the room, and once more after that."""
    system = os.statvfs(disk)
    reserve = system.f_bavail * system.f_frsize - 30 * MB
    fds = [os.open(disk / name, os.O_RDWR | os.O_CREAT) for name in "ab"]

    def after_another(fd: int, offset: int, length: int) -> bool:
        assert allocate(fds[0], 0, 20 * MB)
        return allocate(fd, offset, length)

    monkeypatch.setattr("p2pannex.stores.files.room.allocate", after_another)
    with pytest.raises(RemoteError, match="not enough disk space"):
        Room(fds[1], reserve).take(0, 20 * MB)
    assert [os.fstat(fd).st_blocks > 0 for fd in fds] == [True, False]
    for fd in fds:
        os.close(fd)


def test_of_two_that_take_room_at_the_same_moment_one_gets_it(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = os.statvfs(disk)
    reserve = system.f_bavail * system.f_frsize - 30 * MB
    both = threading.Barrier(2, timeout=60)
    met = set[int]()

    def together(fd: int, offset: int, length: int) -> bool:
        if fd in met:
            return allocate(fd, offset, length)
        met.add(fd)
        both.wait()  # both have seen that there is room
        taken = allocate(fd, offset, length)
        both.wait()
        return taken

    def take(name: str) -> None:
        fd = os.open(disk / name, os.O_RDWR | os.O_CREAT)
        try:
            Room(fd, reserve).take(0, 20 * MB)
            outcomes.append("taken")
        except RemoteError as error:
            outcomes.append(str(error).split(";")[0])
        finally:
            both_ended.wait()
            os.close(fd)

    outcomes: list[str] = []
    both_ended = threading.Barrier(2, timeout=60)
    monkeypatch.setattr("p2pannex.stores.files.room.allocate", together)
    threads = [threading.Thread(target=take, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("taken") == 1, outcomes


KILLED = """
import os, signal, sys, trio
from p2pannex.keys.key import Key
from p2pannex.stores.directory import DirectoryStore

async def main():
    upload = await DirectoryStore(sys.argv[1]).put(Key(sys.argv[2]))
    await upload.begin(60 << 20)
    await upload.send_all(memoryview(bytes(2 << 20)))
    os.kill(os.getpid(), signal.SIGKILL)

trio.run(main)
"""


@pytest.mark.parametrize("key", [f"WORM-s{60 * MB}--killed", "WORM--killed"])
async def test_the_room_of_a_killed_upload_is_there_for_the_next(disk: Path, key: str) -> None:
    DirectoryStore.create(disk / "store", disk_reserve=MB)
    done = subprocess.run([sys.executable, "-c", KILLED, disk / "store", key], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    upload = await DirectoryStore(disk / "store").put(Key(key))
    assert isinstance(upload, Upload)
    async with upload:
        assert upload.offset == 2 * MB
        await upload.begin(58 * MB)
