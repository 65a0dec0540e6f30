"""The ways to wait for the disk: where work runs, in which order, and what cancelling and errors do to it."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pannex.system.disk_work import Batched, DiskWork, Inline, InThreads
from p2pannex.system.fsync_batch import Fsyncs

WAIT = 60.0
"""Seconds after which something that never comes is given up."""

BAD = 1_000_000
"""A descriptor that is not open."""

WAYS = [InThreads, Inline, Batched]


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    with (tmp_path / "file").open("wb") as file:
        yield file.fileno()


@pytest.fixture(params=WAYS)
def disk_work(request: pytest.FixtureRequest) -> DiskWork:
    """Each way, as a store has it."""
    way: type[DiskWork] = request.param
    return way().for_store()


def steps(seen: list[str], fds: list[int], name: str = "") -> Fsyncs[str]:
    """Note in `seen` each step of the work, and that it ended."""
    try:
        for number, fd in enumerate(fds):
            seen.append(f"{name}{number}")
            yield fd
        return f"{name}done"
    finally:
        seen.append(f"{name}end")


# Every way ----------------------------------------------------------------------------------------------------------


async def test_a_function_gives_its_result_or_its_error(disk_work: DiskWork) -> None:
    def divide(number: int, by: int) -> int:
        return number // by

    assert await disk_work.run(divide, 7, 2) == 3
    with pytest.raises(ZeroDivisionError):
        await disk_work.run(divide, 7, 0)


async def test_fsyncs_are_made_in_order_before_the_work_continues(
    disk_work: DiskWork, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        fsync(fd)
        seen.append("fsync")

    monkeypatch.setattr(os, "fsync", noted)
    assert await disk_work.run_fsyncs(steps(seen, [fd, fd])) == "done"
    assert seen == ["0", "fsync", "1", "fsync", "end"]


async def test_an_fsync_that_fails_is_raised_in_the_work(disk_work: DiskWork, fd: int) -> None:
    seen: list[str] = []

    def prepared() -> Fsyncs[str]:
        try:
            yield BAD
        except OSError as error:
            seen.append(errno.errorcode[error.errno or 0])
        yield fd
        return "done"

    assert await disk_work.run_fsyncs(prepared()) == "done"
    assert seen == ["EBADF"]
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        await disk_work.run_fsyncs(steps(seen, [fd, BAD, fd]))
    assert seen == ["EBADF", "0", "1", "end"]
    assert await disk_work.run_fsyncs(steps(seen, [fd])) == "done", "the next work is not affected"


async def test_a_task_that_was_cancelled_before_does_not_begin(disk_work: DiskWork, fd: int) -> None:
    seen: list[str] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await disk_work.run(seen.append, "begun")
    with trio.CancelScope() as second_scope:
        second_scope.cancel()
        await disk_work.run_fsyncs(steps(seen, [fd]))
    assert scope.cancelled_caught
    assert second_scope.cancelled_caught
    assert seen == []
    assert await disk_work.run_fsyncs(steps(seen, [fd])) == "done"


async def test_work_that_has_begun_goes_on_to_its_end(disk_work: DiskWork, fd: int) -> None:
    """The scope is cancelled from inside of the work."""
    seen: list[str] = []
    results: list[str] = []
    token = trio.lowlevel.current_trio_token()

    def cancelling(scope: trio.CancelScope) -> Fsyncs[str]:
        token.run_sync_soon(scope.cancel)
        return (yield from steps(seen, [fd, fd, fd]))

    def cancelling_function(scope: trio.CancelScope) -> str:
        token.run_sync_soon(scope.cancel)
        return "done"

    with trio.CancelScope() as scope:
        results.append(await disk_work.run_fsyncs(cancelling(scope)))
    with trio.CancelScope() as scope:
        results.append(await disk_work.run(cancelling_function, scope))
    assert seen == ["0", "1", "2", "end"]
    assert results == ["done", "done"]


# Where work runs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "function_on_loop", "fsyncs_on_loop"),
    [(InThreads, False, False), (Inline, True, True), (Batched, False, True)],
)
async def test_the_thread_that_work_runs_in(
    way: type[DiskWork], function_on_loop: bool, fsyncs_on_loop: bool, fd: int
) -> None:
    def thread_of_steps() -> Fsyncs[set[int]]:
        threads = {threading.get_ident()}
        yield fd
        return threads | {threading.get_ident()}

    disk_work = way().for_store()
    loop = threading.get_ident()
    assert (await disk_work.run(threading.get_ident) == loop) is function_on_loop
    assert (await disk_work.run_fsyncs(thread_of_steps()) == {loop}) is fsyncs_on_loop
    assert disk_work.may_block_loop is fsyncs_on_loop


@pytest.mark.parametrize("way", [InThreads, Batched])
async def test_the_loop_goes_on_while_a_function_waits(way: type[DiskWork]) -> None:
    disk_work = way().for_store()
    event = threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk_work.run, event.wait, WAIT)
        await trio.testing.wait_all_tasks_blocked()
        event.set()
    assert await disk_work.run(event.wait, 0)


async def test_the_loop_goes_on_while_a_thread_waits_for_an_fsync(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    event = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _: event.wait(WAIT))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(InThreads().run_fsyncs, steps([], [fd]))
        await trio.testing.wait_all_tasks_blocked()
        event.set()


async def test_no_other_task_runs_while_work_is_inline(fd: int) -> None:
    seen: list[str] = []
    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(Inline().run_fsyncs, steps(seen, [fd, fd], name))
    names = [step[0] for step in seen]
    assert names == [name for name in dict.fromkeys(names) for _ in ("0", "1", "end")]


# Batched ------------------------------------------------------------------------------------------------------------


async def test_the_stores_of_one_client_wait_for_the_disk_together(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the three fsyncs returns before all have begun; three times over."""
    together = threading.Barrier(3)
    fsync = os.fsync

    def wait_for_others(fd: int) -> None:
        together.wait(WAIT)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", wait_for_others)
    shared = Batched()
    seen: list[str] = []
    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(shared.for_store().run_fsyncs, steps(seen, [fd, fd, fd], name))
    assert sorted(seen) == sorted(f"{name}{step}" for name in "abc" for step in ("0", "1", "2", "end"))


async def test_an_error_in_one_store_is_not_that_of_another(fd: int) -> None:
    shared = Batched()
    seen: list[str] = []
    failed: list[int | None] = []

    async def failing() -> None:
        try:
            await shared.for_store().run_fsyncs(steps(seen, [fd, BAD, fd], "bad"))
        except OSError as error:
            failed.append(error.errno)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(failing)
        nursery.start_soon(shared.for_store().run_fsyncs, steps(seen, [fd, fd, fd], "good"))
    assert failed == [errno.EBADF]
    assert sorted(seen) == ["bad0", "bad1", "badend", "good0", "good1", "good2", "goodend"]


async def test_one_store_does_one_piece_of_work_at_a_time_in_the_order_of_arrival(fd: int) -> None:
    """Others of the same client go on meanwhile. A task that comes back does not overtake one that waits."""
    shared = Batched()
    store, other = shared.for_store(), shared.for_store()
    seen: list[str] = []
    arrived: list[str] = []

    async def twice(name: str) -> None:
        for turn in "12":
            arrived.append(name + turn)
            await store.run_fsyncs(steps(seen, [fd, fd], name + turn))

    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(twice, name)
        nursery.start_soon(other.run_fsyncs, steps(seen, [fd] * 3, "xx"))
    assert [entry for entry in seen if not entry.startswith("x")] == [
        f"{name}{step}" for name in arrived for step in ("0", "1", "end")
    ]
    assert len(arrived) == 6
    assert seen.index("xxend") < seen.index(f"{arrived[2]}end"), "the other store waited for nothing"


async def test_a_task_that_gives_up_its_turn_lets_the_next_one_have_it(fd: int) -> None:
    store = Batched().for_store()
    seen: list[str] = []
    gives_up = trio.CancelScope()

    def first() -> Fsyncs[str]:
        gives_up.cancel()
        return (yield from steps(seen, [fd, BAD], "first"))

    async def run_first() -> None:
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            await store.run_fsyncs(first())

    async def run_second() -> None:
        with gives_up:
            await store.run_fsyncs(steps(seen, [fd], "second"))

    async with trio.open_nursery() as nursery:
        await store._one_at_a_time.acquire()
        for task in (run_first, run_second):
            nursery.start_soon(task)
            await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(store.run_fsyncs, steps(seen, [fd], "third"))
        await trio.testing.wait_all_tasks_blocked()
        store._one_at_a_time.release()
    assert gives_up.cancelled_caught
    assert seen == ["first0", "first1", "firstend", "third0", "thirdend"]


async def test_waiting_for_an_exclusion_that_a_task_holds_ends(disk_work: DiskWork, fd: int) -> None:
    """Every way lets the holder go on: the exclusion is held across fsyncs, and all the others want it."""
    exclusion = threading.Lock()

    def hold() -> None:
        assert exclusion.acquire(timeout=WAIT)

    def exclusive() -> Fsyncs[None]:
        hold()
        try:
            yield fd
            yield fd
        finally:
            exclusion.release()

    def exclusive_function() -> None:
        hold()
        exclusion.release()

    with trio.fail_after(WAIT):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(disk_work.run_fsyncs, exclusive())
                nursery.start_soon(disk_work.run, exclusive_function)
    assert not exclusion.locked()
