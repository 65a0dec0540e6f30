"""The tools that make things go wrong do so, and where they say."""

# ruff: noqa: PT012 - what is asserted is how far it goes before it breaks

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from p2pannex.testing.faults import Fault, FaultyStream, Operation, cancel_everywhere


@pytest.mark.parametrize("at", [0, 1, 5, 10])
async def test_breaking_while_receiving(at: int) -> None:
    one, other = trio.testing.memory_stream_pair()
    faulty = FaultyStream(one, receives=at)
    await other.send_all(bytes(10))
    got = 0
    with pytest.raises(trio.BrokenResourceError):
        while True:
            got += len(await faulty.receive_some())
    assert got == at
    assert await other.receive_some() == b"", "the far side sees an end"


async def test_ending_while_receiving() -> None:
    one, other = trio.testing.memory_stream_pair()
    faulty = FaultyStream(one, Fault.END, receives=3)
    await other.send_all(b"abcdef")
    assert await faulty.receive_some() == b"abc"
    assert await faulty.receive_some() == b""


async def test_hanging(autojump_clock: trio.testing.MockClock) -> None:
    one, other = trio.testing.memory_stream_pair()
    faulty = FaultyStream(one, Fault.HANG, receives=3, sends=2)
    await other.send_all(b"abcdef")
    assert await faulty.receive_some() == b"abc"
    with trio.move_on_after(1000) as scope:
        await faulty.receive_some()
    assert scope.cancelled_caught
    with trio.move_on_after(1000) as scope:
        await faulty.send_all(b"xyz")
    assert scope.cancelled_caught
    assert await other.receive_some() == b"xy"


@pytest.mark.parametrize("fault", [Fault.BREAK, Fault.END])
async def test_breaking_while_sending(fault: Fault) -> None:
    one, other = trio.testing.memory_stream_pair()
    faulty = FaultyStream(one, fault, sends=3)
    with pytest.raises(trio.BrokenResourceError):
        await faulty.send_all(b"abcdef")
    assert await other.receive_some() == b"abc"
    assert await other.receive_some() == b""


async def test_trickling() -> None:
    one, other = trio.testing.memory_stream_pair()
    faulty = FaultyStream(one, piece=1)
    await other.send_all(b"abc")
    assert [await faulty.receive_some() for _ in range(3)] == [b"a", b"b", b"c"]


async def test_every_point_is_cancelled_once_and_the_last_run_completes() -> None:
    ends: list[int] = []

    @asynccontextmanager
    async def world() -> AsyncIterator[Operation]:
        done = 0

        async def operation() -> None:
            nonlocal done
            for _ in range(3):
                await trio.lowlevel.checkpoint()
                done += 1

        yield operation
        ends.append(done)

    await cancel_everywhere(world)
    assert ends == [0, 1, 2, 3] * 2, "waiting at each, then waking from each"


async def test_tasks_of_the_operation_count_and_the_worlds_do_not() -> None:
    @asynccontextmanager
    async def world() -> AsyncIterator[Operation]:
        async def child() -> None:
            await trio.lowlevel.checkpoint()

        async def operation() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child)

        async def busy() -> None:
            while True:
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(busy)
            yield operation
            nursery.cancel_scope.cancel()

    assert 3 <= await cancel_everywhere(world) < 10


async def test_what_goes_wrong_says_where() -> None:
    @asynccontextmanager
    async def world() -> AsyncIterator[Operation]:
        items = ["something"]

        async def careless() -> None:
            item = items.pop()
            await trio.lowlevel.checkpoint()
            items.append(item)

        yield careless
        assert items, "it was lost"

    with pytest.raises(AssertionError, match="lost") as caught:
        await cancel_everywhere(world)
    assert caught.value.__notes__ == ["cancelled waiting at step 0"]


async def test_endless_operations() -> None:
    @asynccontextmanager
    async def world() -> AsyncIterator[Operation]:
        async def endless() -> None:
            while True:
                await trio.lowlevel.checkpoint()

        yield endless

    with pytest.raises(AssertionError, match="not ended after 20"):
        await cancel_everywhere(world, limit=20)
