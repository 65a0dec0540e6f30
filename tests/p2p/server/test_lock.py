"""LOCKCONTENT: how long content stays locked, and what ends the lock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost
from p2pannex.p2p.server import serve
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol.conversation import Side, State
from p2pannex.service import RETENTION, Service
from p2pannex.testing.faults import Fault, FaultyStream
from tests.p2p.server.talk import RAW, Talk, line, store, talking
from tests.support.clocks import ManualClock
from tests.support.keys import HELLO_KEY as K


async def remove(service: Service) -> bool:
    return (await service.remove(K)).ok


Leave = Callable[[Talk], Awaitable[None]]


async def end_of_file(talk: Talk) -> None:
    await talk.stream.send_eof()


async def close_all(talk: Talk) -> None:
    await talk.stream.aclose()


async def give_up(talk: Talk) -> None:
    await talk.say(b"ERROR I give up\n")


async def stop_in_a_line(talk: Talk) -> None:
    await talk.say(b"UNLOCKCONT")
    await talk.stream.aclose()


async def say_nonsense(talk: Talk) -> None:
    await talk.ask(b"UNLOCK\n", b"ERROR expected UNLOCKCONTENT\n")
    await talk.stream.aclose()


@pytest.mark.parametrize("leave", [end_of_file, close_all, give_up, stop_in_a_line, say_nonsense])
async def test_only_unlockcontent_ends_a_lock_early(leave: Leave) -> None:
    clock = ManualClock()
    here = store(clock=clock)
    async with talking(here) as talk:
        await talk.ask(line(b"LOCKCONTENT", RAW), b"SUCCESS\n")
        assert not await remove(here)
        await leave(talk)
        with trio.fail_after(50):
            await talk.done.wait()
    assert not await remove(here)
    clock.advance(RETENTION - 1)
    assert not await remove(here)
    clock.advance(1)
    assert await remove(here)


async def test_a_reset_keeps_the_lock() -> None:
    clock = ManualClock()
    here = store(clock=clock)
    one, other = trio.testing.memory_stream_pair()
    locking = line(b"LOCKCONTENT", RAW)
    peer = StreamPeer(
        FaultyStream(other, Fault.BREAK, receives=len(locking)), Side.SERVER, state=State.IDLE, timeout=60
    )
    await one.send_all(locking)
    with pytest.raises(ConnectionLost):
        await serve(peer, here)
    assert await one.receive_some(100) == b"SUCCESS\n"
    assert not await remove(here)
    clock.advance(RETENTION)
    assert await remove(here)


async def test_a_cancelled_server_keeps_the_lock() -> None:
    clock = ManualClock()
    here = store(clock=clock)
    one, other = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, StreamPeer(other, Side.SERVER, state=State.IDLE), here)
        await one.send_all(line(b"LOCKCONTENT", RAW))
        assert await one.receive_some(100) == b"SUCCESS\n"
        nursery.cancel_scope.cancel()
    assert not await remove(here)
    clock.advance(RETENTION)
    assert await remove(here)


async def test_a_lock_is_held_for_as_long_as_its_holder_is_there() -> None:
    clock = ManualClock()
    here = store(clock=clock)
    async with talking(here) as talk:
        await talk.ask(line(b"LOCKCONTENT", RAW), b"SUCCESS\n")
        clock.advance(10 * RETENTION)
        assert not await remove(here)
        await talk.say(b"UNLOCKCONTENT\n")
        await talk.idle()
        assert await remove(here)


async def test_a_silent_holder_is_not_waited_for_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    clock = ManualClock()
    here = store(clock=clock)
    async with talking(here, idle_timeout=300) as talk:
        await talk.ask(line(b"LOCKCONTENT", RAW), b"SUCCESS\n")
        await talk.closed(within=301)
    assert isinstance(talk.problem, ConnectionLost)
    assert not await remove(here)
    clock.advance(RETENTION)
    assert await remove(here)


async def test_a_client_that_leaves_with_its_lock_is_not_a_request_that_failed() -> None:
    reported: list[str] = []
    client, server = trio.testing.memory_stream_pair()

    async def run() -> None:
        with pytest.raises(ConnectionLost, match="the client disconnected in the middle of a request"):
            await serve(StreamPeer(server, Side.SERVER), store(clock=ManualClock()), report=reported.append)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await client.send_all(line(b"LOCKCONTENT", RAW))
        await client.send_eof()
        heard = b"".join([data async for data in client])
    assert heard.endswith(b"\nSUCCESS\n")
    assert not reported
