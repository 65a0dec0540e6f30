"""Calling and listening on real sockets: unix, TCP."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol.conversation import Side, State
from p2pannex.protocol.errors import RemoteProtocolError
from p2pannex.protocol.messages import Error
from p2pannex.transports.descriptor import DescriptorStream
from p2pannex.transports.listeners import open_listeners
from p2pannex.transports.sockets import TcpAddress, UnixAddress
from tests.transports.connections import LOOPBACK, connected

# Addresses ------------------------------------------------------------------------------------------------------


def test_addresses_say_what_they_are() -> None:
    assert str(UnixAddress("/run/x")) == "unix:/run/x"
    assert str(TcpAddress("host", 1)) == "host:1"
    assert str(TcpAddress("::1", 1)) == "[::1]:1"


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_has_sixteen_bits(port: int) -> None:
    with pytest.raises(ValueError):
        TcpAddress("host", port)


# Unix -----------------------------------------------------------------------------------------------------------


async def test_unix_both_ways(tmp_path: Path) -> None:
    [listener] = await open_listeners(UnixAddress(tmp_path / "s"))
    peer, stream = await connected(listener)
    assert peer.conversation.state is State.AUTHENTICATION
    await peer.stream.send_all(b"ping")
    assert await stream.receive_some(10) == b"ping"
    await stream.send_all(b"pong")
    assert await peer.stream.receive_some(10) == b"pong"
    await peer.aclose()
    assert await stream.receive_some(10) == b""
    await stream.aclose()
    listener.close()


async def test_a_busy_connection_lets_others_run(tmp_path: Path) -> None:
    """Everything is always ready here: nothing but fairness makes the busy task stop for the other one."""
    [listener] = await open_listeners(UnixAddress(tmp_path / "s"))
    peer, stream = await connected(listener)
    others_ran = trio.Event()

    async def other() -> None:
        others_ran.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        rounds = 0
        while not others_ran.is_set():
            await peer.stream.send_all(b"x")
            assert await stream.receive_some(1) == b"x"
            rounds += 1
            assert rounds < 1000
    await peer.aclose()
    await stream.aclose()
    listener.close()


async def test_a_flood_of_lines_that_came_at_once_lets_others_run(tmp_path: Path) -> None:
    [listener] = await open_listeners(UnixAddress(tmp_path / "s"))
    client, stream = await connected(listener)
    await client.stream.send_all(b"x\n" * 200)
    server = StreamPeer(stream, Side.SERVER, authenticated=False)
    others_ran = trio.Event()

    async def other() -> None:
        others_ran.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        answers = 0
        while not others_ran.is_set():
            with pytest.raises(RemoteProtocolError):
                await server.receive()
            await server.send(Error("unknown command"))
            answers += 1
            assert answers < 100
    await client.aclose()
    await server.aclose()
    listener.close()


# TCP ------------------------------------------------------------------------------------------------------------


async def test_tcp_both_sides_send_at_once_and_notice_the_dead() -> None:
    [listener] = await open_listeners(LOOPBACK)
    peer, stream = await connected(listener)
    for side in (peer.stream, stream):
        assert isinstance(side, DescriptorStream)
        assert side._socket is not None
        assert side._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert side._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert side._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        await side.aclose()
    listener.close()
