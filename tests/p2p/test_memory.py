"""Peers joined in this process: objects pass, not bytes, and a body is lent by its writer until it was read.

What every transport has in common is in test_peer.py.
"""

from __future__ import annotations

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost
from p2pannex.keys.key import Key
from p2pannex.p2p.memory import MemoryPeer, memory_peers
from p2pannex.protocol import messages as m
from p2pannex.protocol.conversation import State
from p2pannex.protocol.errors import LocalProtocolError

K = Key(b"WORM--x")


async def getting(length: int, timeout: float = 5) -> tuple[MemoryPeer, MemoryPeer]:
    """A client and a server, which has announced a body of that length."""
    client, server = memory_peers(timeout=timeout)
    await server.send(m.AuthSuccess("u"))
    await client.receive()
    await client.send(m.Version(1))
    await server.receive()
    await server.send(m.Version(1))
    await client.receive()
    await client.send(m.Get(0, None, K))
    await server.receive()
    await server.send(m.Data(length))
    assert await client.receive() == m.Data(length)
    return client, server


async def test_messages_are_not_copied() -> None:
    client, server = memory_peers()
    message = m.AuthSuccess("u")
    await server.send(message)
    assert await client.receive() is message


async def test_both_ends_follow_the_protocol_rules() -> None:
    client, server = memory_peers()
    with pytest.raises(LocalProtocolError):
        client.queue(m.CheckPresent(K))
    with pytest.raises(LocalProtocolError):
        server.queue(m.Success())
    assert client.conversation.state is server.conversation.state is State.GREETING
    unauthenticated, _ = memory_peers(authenticated=False)
    assert unauthenticated.conversation.state is State.AUTHENTICATION


async def test_a_body_is_read_from_the_writers_own_block() -> None:
    client, server = await getting(6)
    block = bytearray(b"first!")
    got = bytearray(4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.write_body, memoryview(block))
        await trio.testing.wait_all_tasks_blocked()
        block[:] = b"second"  # nothing was copied yet
        assert await client.read_body(memoryview(got)) == 4
        assert got == b"seco"
        assert await client.read_body(memoryview(got)) == 2
        assert await client.read_body(memoryview(got)) == 0
    await server.send(m.Valid())
    assert await client.receive() == m.Valid()


async def test_the_writer_waits_until_all_was_read() -> None:
    client, server = await getting(6)

    async def write() -> None:
        await server.write_body(memoryview(b"123456"))
        raise AssertionError("it was not read")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert server.poisoned
    with pytest.raises(ConnectionLost, match="stopped"):
        await client.read_body(memoryview(bytearray(6)))
    assert client.poisoned


async def test_a_loan_that_ended_in_the_middle_is_not_read_on() -> None:
    client, server = await getting(6)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.write_body, memoryview(b"123456"))
        assert await client.read_body(memoryview(bytearray(2))) == 2
        nursery.cancel_scope.cancel()
    with pytest.raises(ConnectionLost):
        await client.read_body(memoryview(bytearray(6)))


async def test_what_was_said_before_closing_arrives() -> None:
    client, server = memory_peers()
    await server.send(m.AuthSuccess("u"))
    await client.receive()
    await client.send(m.CheckPresent(K))
    await client.aclose()
    assert await server.receive() == m.CheckPresent(K)
    with pytest.raises(ConnectionLost):
        await server.send(m.Success())


@pytest.mark.parametrize("read", [0, 1])
async def test_closing_ends_a_loan(read: int) -> None:
    """Whether the reader has begun with it or not, its writer does not wait for one who is gone."""
    client, server = await getting(6, timeout=10_000)
    with trio.fail_after(50):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.write_body, memoryview(b"123456"))
            await trio.testing.wait_all_tasks_blocked()
            if read:
                await client.read_body(memoryview(bytearray(read)))
            await client.aclose()
    with pytest.raises(ConnectionLost):
        await server.send(m.Valid())


async def test_reusable() -> None:
    client, server = memory_peers()
    assert not client.reusable
    await server.send(m.AuthSuccess("u"))
    await client.receive()
    assert client.reusable
    await client.send(m.Put(None, K))
    assert not client.reusable
    await server.aclose()
    other, server = memory_peers()
    await server.send(m.AuthSuccess("u"))
    await other.receive()
    await server.aclose()
    assert not other.reusable
