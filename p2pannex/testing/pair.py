"""The two ends of a conversation, connected: `Connection` objects for sans-IO tests, peers over every transport.

::

    pair = ConnectionPair()
    pair.open(version=4)
    pair.say(Side.CLIENT, CheckPresent(key))
    pair.say(Side.SERVER, Success())
    assert pair.state is State.IDLE
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import trio
import trio.testing

from p2pannex.p2p.memory import memory_peers
from p2pannex.p2p.peer import PEER_TIMEOUT, Peer
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol import messages as m
from p2pannex.protocol.connection import NEED_DATA, Connection, Wait
from p2pannex.protocol.conversation import Side, State
from p2pannex.transports.descriptor import DescriptorStream

UUID = "00000000-0000-4000-8000-00000000feed"
"""The server's UUID in tests that need no other."""


class ConnectionPair:
    """A client's and a server's `Connection`, connected. Bytes pass in pieces of the sizes that `piece` returns.

    Each step asserts that the message and its body arrive as they were sent, and that both ends are in the same state
    afterwards.
    """

    def __init__(self, *, authenticated: bool = True, piece: Callable[[], int] | None = None) -> None:
        self.client = Connection(Side.CLIENT, authenticated=authenticated)
        self.server = Connection(Side.SERVER, authenticated=authenticated)
        self._piece = piece

    def end(self, side: Side) -> Connection:
        """The connection of that side."""
        return self.client if side is Side.CLIENT else self.server

    @property
    def state(self) -> State:
        """The state that both ends are in."""
        assert self.client.state is self.server.state, f"client: {self.client.state}, server: {self.server.state}"
        return self.client.state

    def open(self, version: int = m.LATEST_VERSION, uuid: str = UUID) -> None:
        """Send AUTH-SUCCESS, then VERSION from both sides; without VERSION if `version` is 0."""
        self.say(Side.SERVER, m.AuthSuccess(uuid))
        if version:
            self.say(Side.CLIENT, m.Version(version))
            self.say(Side.SERVER, m.Version(version))

    def say(self, side: Side, message: m.Message, body: bytes = b"") -> m.Message:
        """Send a message from `side`, with the body that a `Data` announces. Returns the message as it arrived.

        LocalProtocolError if `side` may not send it now, RemoteProtocolError if the other side does not accept it.
        """
        sender, receiver = self.end(side), self.end(side.other)
        data = sender.send(message)
        if isinstance(message, m.Data):
            sender.body_sent(len(body))
            assert not sender.outgoing, f"{sender.outgoing} bytes of the body are missing"
        event: m.Message | Wait = NEED_DATA
        taken = b""
        for piece in self._pieces(data + body):
            receiver.receive_data(piece)
            if event is NEED_DATA:
                event = receiver.next_event()
            taken += receiver.take_body()
        assert isinstance(event, m.Message), f"{message} did not arrive: {event}"
        assert type(event) is type(message), f"{message} arrived as {event}"
        assert taken == body, f"{len(body)} bytes were sent, and other bytes arrived"
        assert self.client.version == self.server.version
        assert self.state is sender.state
        return event

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        start = 0
        while start < len(data):
            size = len(data) if self._piece is None else max(1, self._piece())
            yield data[start : start + size]
            start += size


Pair = tuple[Peer, Peer]
"""A client's peer and a server's peer, connected."""


def _socket_peers(*, authenticated: bool = True, timeout: float = PEER_TIMEOUT) -> Pair:
    one, other = socket.socketpair()
    return (
        StreamPeer(DescriptorStream.over_socket(one), Side.CLIENT, authenticated=authenticated, timeout=timeout),
        StreamPeer(DescriptorStream.over_socket(other), Side.SERVER, authenticated=authenticated, timeout=timeout),
    )


def _pipe_peers(*, authenticated: bool = True, timeout: float = PEER_TIMEOUT) -> Pair:
    to_server_read, to_server = os.pipe()
    to_client_read, to_client = os.pipe()
    return (
        StreamPeer(
            DescriptorStream(to_client_read, to_server), Side.CLIENT, authenticated=authenticated, timeout=timeout
        ),
        StreamPeer(
            DescriptorStream(to_server_read, to_client), Side.SERVER, authenticated=authenticated, timeout=timeout
        ),
    )


def _stream_peers(*, authenticated: bool = True, timeout: float = PEER_TIMEOUT) -> Pair:
    one, other = trio.testing.memory_stream_pair()
    return (
        StreamPeer(one, Side.CLIENT, authenticated=authenticated, timeout=timeout),
        StreamPeer(other, Side.SERVER, authenticated=authenticated, timeout=timeout),
    )


PEERS: dict[str, Callable[..., Pair]] = {
    "memory": memory_peers,
    "stream": _stream_peers,
    "socket": _socket_peers,
    "pipe": _pipe_peers,
}
"""Functions that make two connected peers, by transport: ``memory`` passes objects, ``stream`` passes bytes in this
process, ``socket`` and ``pipe`` pass bytes through the kernel. Each takes `authenticated` and `timeout`. The first two
depend on trio's clock only, so ``trio.testing.MockClock(autojump_threshold=0)`` makes their deadlines pass at once."""


def peer_pair(transport: str, *, authenticated: bool = True, timeout: float = PEER_TIMEOUT) -> Pair:
    """A client's peer and a server's peer, connected over one of `PEERS`."""
    return PEERS[transport](authenticated=authenticated, timeout=timeout)
