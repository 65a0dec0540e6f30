"""CONNECT (protocol-spec section 10): a byte stream carried in DATA messages, both ways at once.

It is the only part of the protocol that is not half duplex, and the last thing that a connection does.
"""

from __future__ import annotations

import trio

from p2pannex.peer import SMALL, Peer
from p2pannex.protocol.conversation import State
from p2pannex.protocol.errors import ConnectionLost
from p2pannex.protocol.messages import ConnectDone, Data, Error


class CarriedStream(trio.abc.HalfCloseableStream):
    """What the far side of a CONNECT sends and takes, as a stream. `exit_code` is set at its end on the client."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._sending = trio.Lock()
        self.exit_code: int | None = None

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """At least one byte; empty once the far side is done."""
        peer = self._peer
        while not peer.conversation.incoming:
            if peer.conversation.state is not State.CONNECTED:
                return b""
            message = await peer.receive()
            if message is None:
                return b""
            if isinstance(message, ConnectDone):
                self.exit_code = message.exit_code
                return b""
            if isinstance(message, Error):
                raise ConnectionLost(f"the far side gave up: {message.message}")
            assert isinstance(message, Data)
        block = bytearray(min(max_bytes or SMALL, SMALL))
        count = await peer.read_body(memoryview(block))
        return bytes(block[:count])

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data` in messages of their own."""
        async with self._sending:
            for start in range(0, len(data), SMALL):
                part = memoryview(data)[start : start + SMALL]
                self._peer.queue(Data(len(part)))
                await self._peer.write_body(part)
                await self._peer.flush()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        """The protocol has no way to say it: the end of CONNECT is the server's to say, with CONNECTDONE."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """The peer stays open: whoever made the stream says how the conversation ends."""
        await trio.lowlevel.checkpoint()
