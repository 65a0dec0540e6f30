"""Work with fsyncs: in one thread, or together with other tasks of the same loop."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from p2pannex.service import AlreadyHave, NotLocked, Upload
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.files.objects import ObjectStore
from p2pannex.system.disk_work import Batched
from p2pannex.system.fsync_batch import FsyncBatch, Fsyncs, run_blocking
from p2pannex.testing.samples import key_of

WAIT = 60.0
"""Seconds after which something that never comes is given up."""


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    with (tmp_path / "file").open("wb") as file:
        yield file.fileno()


def work(seen: list[str], fds: list[int], name: str = "") -> Fsyncs[str]:
    """Says in `seen` how far it got; a failed fsync is noted, and the work goes on."""
    for number, fd in enumerate(fds):
        seen.append(f"{name}{number}")
        try:
            yield fd
        except OSError as error:
            seen.append(f"{name}{errno.errorcode[error.errno or 0]}")
    return name + "done"


@given(good=st.lists(st.booleans(), max_size=5))
def test_the_order_is_the_same_wherever_it_waits(good: list[bool]) -> None:
    with tempfile.TemporaryFile() as file:
        fds = [file.fileno() if each else 1_000_000 for each in good]
        once: list[str] = []
        beside: list[str] = []
        assert run_blocking(work(once, fds)) == trio.run(FsyncBatch().run, work(beside, fds)) == "done"
    assert once == beside
    assert once.count("EBADF") == good.count(False)


def run_in_batch(work: Fsyncs[None]) -> None:
    trio.run(FsyncBatch().run, work)


@pytest.mark.parametrize("run", [run_blocking, run_in_batch])
def test_an_fsync_that_fails_ends_work_that_does_not_expect_it(run: Callable[[Fsyncs[None]], None]) -> None:
    def failing() -> Fsyncs[None]:
        yield 1_000_000

    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        run(failing())


async def test_those_that_got_as_far_wait_for_the_disk_together(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the three fsyncs returns before all have begun; and so three times over."""
    together = threading.Barrier(3)
    fsync = os.fsync

    def wait_for_others(fd: int) -> None:
        together.wait(WAIT)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", wait_for_others)
    seen: list[str] = []
    batch = FsyncBatch()
    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(batch.run, work(seen, [fd, fd, fd], name))
    assert sorted(seen) == sorted(f"{name}{number}" for name in "abc" for number in range(3))


async def test_each_is_told_of_its_own_failure_only(fd: int) -> None:
    seen: list[str] = []
    batch = FsyncBatch()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(batch.run, work(seen, [fd, fd], "good"))
        nursery.start_soon(batch.run, work(seen, [1_000_000, fd], "bad"))
    assert sorted(seen) == ["bad0", "bad1", "badEBADF", "good0", "good1"]


async def test_a_batch_waits_for_its_slowest_fsync(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And each task gets the error of its own, in whatever order they return."""
    returned: list[int] = []

    def fsync(number: int) -> None:
        time.sleep(0.05 if number else 0)
        returned.append(number)
        if number == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    seen: list[str] = []

    def one(number: int) -> Fsyncs[None]:
        try:
            yield number
        except OSError:
            seen.append(f"error {number}")
        assert sorted(returned) == [0, 1, 2], "all have returned"
        seen.append(f"done {number}")

    batch = FsyncBatch()
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(batch.run, one(number))
    assert sorted(seen) == ["done 0", "done 1", "done 2", "error 2"]


async def test_no_thread_is_needed(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more_threads(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(trio.lowlevel, "start_thread_soon", no_more_threads)
    seen: list[str] = []
    batch = FsyncBatch()
    async with trio.open_nursery() as nursery:
        for name, first in (("a", fd), ("b", 1_000_000), ("c", fd)):
            nursery.start_soon(batch.run, work(seen, [first, fd], name))
    assert sorted(seen) == ["a0", "a1", "b0", "b1", "bEBADF", "c0", "c1"]


async def test_work_that_has_begun_goes_on_to_its_end(fd: int) -> None:
    seen: list[str] = []
    batch = FsyncBatch()
    with trio.CancelScope() as scope:
        scope.cancel()
        async with trio.open_nursery() as nursery:
            for name in "ab":
                nursery.start_soon(batch.run, work(seen, [fd, fd], name))
    assert sorted(seen) == ["a0", "a1", "b0", "b1"]


def test_loops_in_several_threads_do_not_meet(fd: int) -> None:
    outcomes: list[str] = []

    def loop(name: str) -> None:
        batch = FsyncBatch()
        for _ in range(50):
            outcomes.append(trio.run(batch.run, work([], [fd, fd], name)))

    threads = [threading.Thread(target=loop, args=[name]) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert sorted(outcomes) == ["adone"] * 50 + ["bdone"] * 50


# Stores that wait together ---------------------------------------------------------------------------------------


def open_annex(path: Path) -> AnnexStore:
    for words in (
        ["init", "-q", "--bare", str(path)],
        ["-C", str(path), "config", "annex.uuid", "aaaaaaaa-1111-4222-8333-bbbbbbbbbbbb"],
        ["-C", str(path), "config", "annex.version", "10"],
    ):
        subprocess.run(["git", *words], check=True)
    return AnnexStore(path, disk_work=Batched())


def open_directory(path: Path) -> DirectoryStore:
    DirectoryStore.create(path)
    return DirectoryStore(path, disk_work=Batched())


@pytest.mark.parametrize("open_one", [open_annex, open_directory])
async def test_waiting_for_the_disk_does_not_block_the_loop(
    tmp_path: Path, open_one: Callable[[Path], ObjectStore]
) -> None:
    """An upload waits for the disk with its key's exclusion held. Locks, removals and other uploads of keys that share
    it wait for their turn, and the loop goes on."""
    contents = [b"%d" % number for number in range(40)]

    async def put(service: ObjectStore, content: bytes) -> None:
        upload = await service.put(key_of(content))
        if not isinstance(upload, Upload):
            assert isinstance(upload, AlreadyHave)
            return
        try:
            await upload.begin(len(content))
            await upload.send_all(memoryview(content))
            await upload.finish(True)
        finally:
            await upload.aclose()

    async def work_on(service: ObjectStore, content: bytes) -> None:
        await put(service, content)
        with suppress(NotLocked):
            async with await service.lock(key_of(content)):
                pass
        await service.remove(key_of(content))
        await put(service, content)

    async with open_one(tmp_path / "store") as service:
        with trio.fail_after(WAIT):
            async with trio.open_nursery() as nursery:
                for content in contents * 2:
                    nursery.start_soon(work_on, service, content)
        assert all([await service.check_present(key_of(content)) for content in contents])
