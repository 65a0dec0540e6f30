"""Peers, over every transport: messages, bodies, deadlines, and what is left of a conversation that was interrupted."""

# ruff: noqa: PT012 - what is asserted is how far it goes before it breaks

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol import messages as m
from p2pannex.protocol.conversation import Side, State
from p2pannex.protocol.errors import LocalProtocolError, RemoteProtocolError
from p2pannex.testing.faults import Fault, FaultyStream, Operation, cancel_everywhere
from p2pannex.testing.pair import PEERS, Pair, peer_pair
from p2pannex.testing.samples import sample
from p2pannex.transports.pump import SMALL_BODY
from tests.support.descriptors import count_descriptors
from tests.support.keys import HELLO_KEY as K

every_transport = pytest.mark.parametrize("transport", PEERS)
streams = pytest.mark.parametrize("transport", [name for name in PEERS if name != "memory"])
SIZES = [0, 1, 5, SMALL_BODY - 10, SMALL_BODY, SMALL_BODY + 1, 3 * SMALL_BODY + 7]


async def idle_pair(transport: str, timeout: float = 60, version: int = 4) -> Pair:
    client, server = peer_pair(transport, timeout=timeout)
    await server.send(m.AuthSuccess("u"))
    assert await client.receive() == m.AuthSuccess("u")
    await client.send(m.Version(version))
    assert await server.receive() == m.Version(version)
    await server.send(m.Version(version))
    assert await client.receive() == m.Version(version)
    return client, server


async def close(*peers: Peer) -> None:
    for peer in peers:
        await peer.aclose()


async def read(peer: Peer, size: int = 10_000) -> bytes:
    """The rest of the far side's body."""
    body, block = bytearray(), bytearray(size)
    while count := await peer.read_body(memoryview(block)):
        body += block[:count]
    return bytes(body)


@every_transport
async def test_messages_and_answers(transport: str) -> None:
    client, server = await idle_pair(transport)
    for _ in range(3):
        assert client.reusable
        await client.send(m.CheckPresent(K))
        assert not client.reusable
        assert await server.receive() == m.CheckPresent(K)
        server.queue(m.Success())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.receive)  # it is the client's turn: what is queued goes out first
            assert await client.receive() == m.Success()
            nursery.cancel_scope.cancel()
    assert client.reusable
    await close(client, server)


@every_transport
@pytest.mark.parametrize("size", SIZES)
async def test_bodies(transport: str, size: int) -> None:
    client, server = await idle_pair(transport)
    body = sample(size)
    got = b""

    async def receive() -> None:
        nonlocal got
        assert await client.receive() == m.Data(size)
        got = await read(client)
        assert await client.receive() == m.Valid()

    async with trio.open_nursery() as nursery:
        await client.send(m.Get(0, None, K))
        await server.receive()
        nursery.start_soon(receive)
        server.queue(m.Data(size))
        await server.write_body(memoryview(body)[: size // 2])
        await server.write_body(memoryview(body)[size // 2 :])
        await server.send(m.Valid())
    assert got == body
    assert client.conversation.state is server.conversation.state is State.GET_RECEIPT
    await close(client, server)


@every_transport
async def test_a_body_is_never_longer_than_announced(transport: str) -> None:
    client, server = await idle_pair(transport)
    await client.send(m.Get(0, None, K))
    await server.receive()
    server.queue(m.Data(5))
    with pytest.raises(LocalProtocolError):
        await server.write_body(memoryview(b"123456"))

    async def write() -> None:
        await server.write_body(memoryview(b"12345"))
        await server.flush()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        assert await client.receive() == m.Data(5)
        assert await read(client) == b"12345"
    await close(client, server)


@every_transport
async def test_receive_out_of_turn(transport: str) -> None:
    client, server = await idle_pair(transport)
    with pytest.raises(LocalProtocolError):
        await client.receive()
    await client.send(m.CheckPresent(K))
    await server.receive()
    with pytest.raises(LocalProtocolError):
        await server.receive()
    assert client.conversation.state is server.conversation.state is State.ANSWER
    await close(client, server)


@every_transport
async def test_nothing_is_queued_that_is_not_allowed(transport: str) -> None:
    client, server = await idle_pair(transport)
    with pytest.raises(LocalProtocolError):
        client.queue(m.Success())
    assert client.reusable
    await close(client, server)


# The end -----------------------------------------------------------------------------------------------------------


@every_transport
async def test_the_far_side_closes_between_requests(transport: str) -> None:
    client, server = await idle_pair(transport)
    assert client.reusable
    await client.aclose()
    assert await server.receive() is None
    assert not client.reusable
    await close(server)


@every_transport
async def test_a_kept_connection_that_was_closed_is_not_reusable(transport: str) -> None:
    client, server = await idle_pair(transport)
    await server.aclose()
    if transport != "stream":  # trio's memory streams cannot be asked
        assert not client.reusable
    with pytest.raises(ConnectionLost):
        await client.send(m.CheckPresent(K))
        if await client.receive() is None:
            raise ConnectionLost
    assert not client.reusable
    await close(client)


@streams
async def test_bytes_that_come_unasked_make_a_connection_unusable(transport: str) -> None:
    client, server = await idle_pair(transport)
    await client.send(m.CheckPresent(K))
    await server.receive()
    assert isinstance(server, StreamPeer)
    await server.stream.send_all(b"SUCCESS\nFAILURE\n")
    assert await client.receive() == m.Success()
    assert not client.reusable
    await close(client, server)


@every_transport
async def test_the_far_side_closes_in_the_middle_of_a_body(transport: str) -> None:
    client, server = await idle_pair(transport)
    await client.send(m.Put(None, K))
    await server.receive()
    await server.send(m.PutFrom(0))
    await client.receive()
    client.queue(m.Data(3 * SMALL_BODY))
    got = 0

    async def receive() -> None:
        nonlocal got
        assert await server.receive() == m.Data(3 * SMALL_BODY)
        with pytest.raises(ConnectionLost):
            while True:
                got += await server.read_body(memoryview(bytearray(1000)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await client.write_body(memoryview(bytes(2 * SMALL_BODY)))
        await client.aclose()
    assert got == 2 * SMALL_BODY, "what was sent before the end arrives"
    assert server.poisoned
    assert not server.reusable
    await close(server)


@every_transport
async def test_a_writer_learns_that_its_reader_is_gone(transport: str) -> None:
    client, server = await idle_pair(transport)
    await client.send(m.Get(0, None, K))
    await server.receive()
    server.queue(m.Data(1 << 50))
    await client.aclose()
    with pytest.raises(ConnectionLost):
        while True:
            await server.write_body(memoryview(bytes(SMALL_BODY)))
            await server.flush()
    assert server.poisoned
    with pytest.raises(ConnectionLost):
        await server.write_body(memoryview(bytes(2 * SMALL_BODY)))
    await close(server)


@every_transport
async def test_closing_while_a_body_is_on_loan_frees_its_writer(transport: str) -> None:
    client, server = await idle_pair(transport, timeout=1000)
    await client.send(m.Get(0, None, K))
    await server.receive()
    server.queue(m.Data(1 << 50))

    async def write() -> None:
        with pytest.raises(ConnectionLost):
            while True:
                await server.write_body(memoryview(bytes(1 << 20)))

    with trio.fail_after(50):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await client.receive()
            await trio.sleep(0.01)
            await client.aclose()
    await close(server)


@every_transport
async def test_wait_left(transport: str) -> None:
    client, server = await idle_pair(transport)
    await client.send(m.CheckPresent(K))
    await server.receive()
    with trio.move_on_after(0.01) as scope:
        await server.wait_left()
    assert scope.cancelled_caught, "the client is still there"
    await server.send(m.Success())
    assert await client.receive() == m.Success()
    await client.send(m.GetTimestamp())
    assert await server.receive() == m.GetTimestamp()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.wait_left)
        await client.aclose()
    await close(server)


@streams
async def test_what_comes_while_waiting_for_the_end_is_kept(transport: str) -> None:
    client, server = await idle_pair(transport)
    assert isinstance(client, StreamPeer)
    await client.stream.send_all(m.CheckPresent(K).format())
    await server.receive()
    await client.stream.send_all(m.GetTimestamp().format())
    with trio.move_on_after(0.02):
        await server.wait_left()
    await server.send(m.Failure())
    assert await server.receive() == m.GetTimestamp()
    await close(client, server)


# Bad lines ---------------------------------------------------------------------------------------------------------


@streams
async def test_bad_lines_and_the_way_on(transport: str) -> None:
    client, server = await idle_pair(transport)
    assert isinstance(client, StreamPeer)
    await client.stream.send_all(b"FOO\n" + m.CheckPresent(K).format())
    with pytest.raises(RemoteProtocolError) as caught:
        await server.receive()
    assert caught.value.reply == "unknown command"
    await server.send(m.Error("unknown command"))
    assert await server.receive() == m.CheckPresent(K)
    await close(client, server)


@streams
async def test_a_line_that_is_too_long_is_answered(transport: str) -> None:
    client, server = await idle_pair(transport)
    assert isinstance(client, StreamPeer)
    await client.stream.send_all(b"x" * 33_000)
    with pytest.raises(RemoteProtocolError) as caught:
        await server.receive()
    assert caught.value.reply is not None
    await server.send(m.Error(caught.value.reply))
    assert await client.stream.receive_some(100) == b"ERROR line too long\n"
    assert await server.receive() is None
    await close(client, server)


@streams
async def test_a_server_that_makes_no_sense_poisons_the_connection(transport: str) -> None:
    client, server = await idle_pair(transport)
    await client.send(m.CheckPresent(K))
    await server.receive()
    assert isinstance(server, StreamPeer)
    await server.stream.send_all(b"PUT-FROM 0\n")
    with pytest.raises(RemoteProtocolError):
        await client.receive()
    assert client.poisoned
    await close(client, server)


# Deadlines ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["memory", "stream"])
async def test_a_far_side_that_never_answers(transport: str, autojump_clock: trio.testing.MockClock) -> None:
    client, server = await idle_pair(transport, timeout=60)
    await client.send(m.CheckPresent(K))
    began = trio.current_time()
    with pytest.raises(ConnectionLost, match="60 s"):
        await client.receive()
    assert trio.current_time() - began == pytest.approx(60)
    assert client.poisoned
    assert not client.reusable
    await close(client, server)


@pytest.mark.parametrize("transport", ["memory", "stream"])
async def test_a_deadline_for_one_wait(transport: str, autojump_clock: trio.testing.MockClock) -> None:
    client, server = await idle_pair(transport, timeout=60)
    with pytest.raises(ConnectionLost, match="7 s"):
        await server.receive(7)
    await close(client, server)


@pytest.mark.parametrize("transport", ["memory", "stream"])
async def test_a_body_that_stops(transport: str, autojump_clock: trio.testing.MockClock) -> None:
    client, server = await idle_pair(transport, timeout=60)
    await client.send(m.Get(0, None, K))
    await server.receive()
    async with trio.open_nursery() as nursery:
        server.queue(m.Data(10))
        nursery.start_soon(server.write_body, memoryview(b"12345"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(server.flush)
        await client.receive()
        assert await client.read_body(memoryview(bytearray(5))) == 5
        with pytest.raises(ConnectionLost):
            await client.read_body(memoryview(bytearray(5)))
        assert client.poisoned
    await close(client, server)


async def test_a_far_side_that_takes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    one, _other = trio.testing.memory_stream_pair()
    server = StreamPeer(FaultyStream(one, Fault.HANG, sends=1000), Side.SERVER, timeout=60)
    server.queue(m.AuthSuccess("u" * 2000))
    with pytest.raises(ConnectionLost, match="60 s"):
        await server.flush()
    assert server.poisoned
    await close(server)


async def test_slow_is_not_stalled(autojump_clock: trio.testing.MockClock) -> None:
    """The deadline stands on progress, not on the whole."""
    client, server = await idle_pair("stream", timeout=60)
    await client.send(m.Get(0, None, K))
    await server.receive()
    assert isinstance(server, StreamPeer)
    stream = server.stream

    async def trickle() -> None:
        await stream.send_all(b"DATA 20\n")
        for _ in range(20):
            await trio.sleep(50)
            await stream.send_all(b"x")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trickle)
        await client.receive()
        assert await read(client) == b"x" * 20
    await close(client, server)


# Cancelled anywhere ------------------------------------------------------------------------------------------------


async def answer_everything(server: Peer) -> None:
    """A server that has 200,000 bytes of everything."""
    body = sample(200_000)
    try:
        while True:
            request = await more(server)
            if isinstance(request, m.Get):
                server.queue(m.Data(len(body)))
                await server.write_body(memoryview(body))
                server.queue(m.Valid())
                await more(server)
            elif isinstance(request, m.Put):
                server.queue(m.PutFrom(0))
                await more(server)
                await read(server)
                await more(server)
                server.queue(m.Success())
            else:
                server.queue(m.Success())
    except ConnectionLost:
        pass


async def more(peer: Peer) -> m.Message:
    message = await peer.receive()
    if message is None:
        raise ConnectionLost("closed")
    return message


async def exchange(client: Peer) -> None:
    await client.send(m.CheckPresent(K))
    await client.receive()
    await client.send(m.Get(0, None, K))
    await client.receive()
    assert await read(client, 70_000) == sample(200_000)
    await client.receive()
    await client.send(m.Success())
    await client.send(m.Put(None, K))
    await client.receive()
    client.queue(m.Data(200_000))
    await client.write_body(memoryview(sample(200_000)))
    client.queue(m.Valid())
    await client.receive()


@every_transport
async def test_cancelled_anywhere_a_peer_is_reusable_or_says_that_it_is_not(transport: str) -> None:
    @asynccontextmanager
    async def world() -> AsyncIterator[Operation]:
        client, server = await idle_pair(transport)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_everything, server)
            yield lambda: exchange(client)
            if client.reusable:
                with trio.fail_after(50):
                    await exchange(client)
                assert client.reusable
            await client.aclose()
            with trio.fail_after(50):
                await trio.testing.wait_all_tasks_blocked()
        await server.aclose()

    assert await cancel_everywhere(world) > 5


@every_transport
async def test_a_read_that_was_cancelled_has_lost_nothing(transport: str) -> None:
    """However often reading is interrupted, the body comes whole and in order."""
    client, server = await idle_pair(transport)
    body = sample(30_000)
    got = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_once, server, body)
        await client.send(m.Get(0, None, K))
        await client.receive()
        block = bytearray(1000)
        while len(got) < len(body):
            with trio.CancelScope() as scope:
                if len(got) % 3:
                    scope.cancel()
                else:
                    scope.deadline = trio.current_time() + 0.0001
                count = await client.read_body(memoryview(block)[: 1 + len(got) % 997])
                got += block[:count]
            await trio.lowlevel.checkpoint()
            if scope.cancelled_caught:
                count = await client.read_body(memoryview(block)[:1])
                got += block[:count]
        nursery.cancel_scope.cancel()
    assert bytes(got) == body
    await close(client, server)


async def answer_once(server: Peer, body: bytes) -> None:
    await server.receive()
    server.queue(m.Data(len(body)))
    for start in range(0, len(body), 100):
        await server.write_body(memoryview(body)[start : start + 100])
        await server.flush()
        await trio.lowlevel.checkpoint()


# Descriptors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["socket", "pipe"])
async def test_closing_twice_and_leaking_nothing(transport: str) -> None:
    gc.collect()
    before = count_descriptors()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(20):
            client, server = await idle_pair(transport)
            await close(client, server, client, server)
            del client, server
        gc.collect()
    assert count_descriptors() == before
