"""Connections are kept, replaced where that is safe, and bounded."""

from __future__ import annotations

import contextlib

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost
from p2pannex.p2p.pool import PEER_CLOSE_TIMEOUT, close
from p2pannex.p2p.remote import CONNECTIONS
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol.conversation import Side
from p2pannex.testing.serving import served
from tests.p2p.remote.scripted import CHECK, REPEATABLE, free_slots, hello_store, scripted
from tests.support.keys import HELLO_KEY as K

# Connections are kept, and repeated over where that is safe --------------------------------------------------------


async def test_connections_are_kept() -> None:
    async with scripted([(CHECK, b"SUCCESS\n"), (CHECK, b"FAILURE\n")]) as (remote, server):
        assert await remote.check_present(K)
        assert not await remote.check_present(K)
        assert server.dialled == 1


@pytest.mark.parametrize("name", REPEATABLE)
async def test_a_stale_connection_is_replaced_once(name: str) -> None:
    request, answer, call = REPEATABLE[name]
    async with scripted([(CHECK, b"SUCCESS\n"), (request, None)], [(request, answer)]) as (remote, server):
        assert await remote.check_present(K)
        result = await call(remote)
        assert result
        assert server.dialled == 2
        if hasattr(result, "aclose"):
            assert free_slots(remote) == CONNECTIONS - 1
            await result.aclose()
        assert free_slots(remote) == CONNECTIONS


@pytest.mark.parametrize("name", REPEATABLE)
async def test_a_new_connection_that_breaks_is_not_replaced(name: str) -> None:
    request, _, call = REPEATABLE[name]
    async with scripted([(request, None)], [(request, None)]) as (remote, server):
        with pytest.raises(ConnectionLost):
            await call(remote)
        assert server.dialled == 1
        assert free_slots(remote) == CONNECTIONS


@pytest.mark.parametrize("name", REPEATABLE)
async def test_a_replacement_that_breaks_too(name: str) -> None:
    request, _, call = REPEATABLE[name]
    async with scripted([(CHECK, b"SUCCESS\n"), (request, None)], [(request, None)]) as (remote, server):
        assert await remote.check_present(K)
        with pytest.raises(ConnectionLost):
            await call(remote)
        assert server.dialled == 2
        assert free_slots(remote) == CONNECTIONS


@pytest.mark.parametrize("name", REPEATABLE)
async def test_a_replacement_that_cannot_be_had(name: str) -> None:
    request, _, call = REPEATABLE[name]
    async with scripted([(CHECK, b"SUCCESS\n"), (request, None)]) as (remote, server):
        assert await remote.check_present(K)
        for _ in range(3):
            with pytest.raises(ConnectionLost, match="connection refused"):
                await call(remote)
            assert free_slots(remote) == CONNECTIONS, "a slot is given back once"
        assert server.dialled == 4


async def test_a_connection_that_is_known_to_be_dead_is_not_used() -> None:
    here = hello_store()
    async with served(here, transport="socket") as remote:
        assert await remote.check_present(K)
        (peer,) = remote._pool._idle
        assert isinstance(peer, StreamPeer)
        await peer.stream.send_eof()  # type: ignore[attr-defined]
        await trio.testing.wait_all_tasks_blocked()
        assert (await remote.remove(K)).ok, "also where it could not be repeated"


# The pool ----------------------------------------------------------------------------------------------------------


async def test_connections_are_bounded_and_others_wait(autojump_clock: trio.testing.MockClock) -> None:
    here = hello_store()
    async with served(here, connections=2, timeout=60) as remote:
        async with contextlib.AsyncExitStack() as held:
            for _ in range(2):
                await held.enter_async_context(await remote.get(K))
            assert free_slots(remote) == 0
            with pytest.raises(ConnectionLost, match="busy for 60 s"):
                await remote.check_present(K)
            assert free_slots(remote) == 0
        assert free_slots(remote) == 2
        assert await remote.check_present(K)

        open_now = most = 0

        async def one() -> None:
            nonlocal open_now, most
            async with await remote.get(K):
                open_now += 1
                most = max(most, open_now)
                await trio.sleep(1)
                open_now -= 1

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(one)
        assert most == 2
        assert free_slots(remote) == 2


async def test_a_closed_remote_keeps_nothing() -> None:
    here = hello_store()
    async with served(here) as remote:
        download = await remote.get(K)
        assert await remote.check_present(K)
        await remote.aclose()
        await remote.aclose()
        with pytest.raises(ConnectionLost, match="closed"):
            await remote.check_present(K)
        async with download:
            assert await download.readinto(memoryview(bytearray(9))) == 5
            assert await download.valid()
            await download.finish(True)
        assert not remote._pool._idle
        assert free_slots(remote) == CONNECTIONS


async def test_a_connection_that_does_not_close_is_left(autojump_clock: trio.testing.MockClock) -> None:
    class Stuck(StreamPeer):
        async def aclose(self) -> None:
            await trio.sleep(1000)

    stream, _ = trio.testing.memory_stream_pair()
    with trio.CancelScope() as scope:
        scope.cancel()
        await close(Stuck(stream, Side.CLIENT))
    assert trio.current_time() <= PEER_CLOSE_TIMEOUT


async def test_a_connection_that_was_left_in_the_middle_of_a_request_is_closed_at_once() -> None:
    async with served(hello_store(), transport="socket") as remote:
        lock = await remote.lock(K)
        await lock.aclose()
        assert not remote._pool._idle


async def test_a_pinned_connection_that_is_lost_after_a_reply_is_not_replaced() -> None:
    async with scripted([(CHECK, b"SUCCESS\n"), (CHECK, None)], [(CHECK, b"SUCCESS\n")]) as (remote, server):
        async with remote.pinned() as pinned:
            assert await pinned.check_present(K)
            with pytest.raises(ConnectionLost):
                await pinned.check_present(K)
        assert server.dialled == 1


async def test_a_pinned_connection_that_has_ended_is_not_used() -> None:
    async with served(hello_store(), transport="socket") as remote, remote.pinned() as pinned:
        assert await pinned.check_present(K)
        peer = pinned._pool._pinned  # type: ignore[attr-defined]
        await peer.stream.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ConnectionLost, match="between two requests"):
            await pinned.remove(K)
