"""Connections over real sockets, with and without TLS."""

from __future__ import annotations

import ssl

import trio
import trio.testing

from p2pannex.p2p.dial import open_socket_peer
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.transports.descriptor import DescriptorStream
from p2pannex.transports.listeners import SocketListener
from p2pannex.transports.sockets import TcpAddress
from p2pannex.transports.tls import TlsStream

LOOPBACK = TcpAddress("127.0.0.1", 0)


async def connected(
    listener: SocketListener, client_side: ssl.SSLContext | None = None, server_name: str | None = None
) -> tuple[StreamPeer, DescriptorStream | TlsStream]:
    """A client's peer and the stream that the listener made of its connection."""
    accepted: list[DescriptorStream | TlsStream] = []

    async def accept() -> None:
        stream, _ = await listener.accept()
        accepted.append(stream)
        if isinstance(stream, TlsStream):
            await stream.do_handshake()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        peer = await open_socket_peer(listener.address, tls=client_side, server_name=server_name, timeout=60)
    return peer, accepted[0]
