"""CONNECT (protocol-spec section 10): a byte stream carried in DATA messages, both ways at once.

It is the only part of the protocol that is not half duplex, and the last thing that a connection does. No deadline
stands on the far side's next message: the one waits in silence while the other packs, sends or runs hooks. Each body,
once announced, and each write have the peer's.
"""

from __future__ import annotations

import math

import trio

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.p2p.peer import Peer
from p2pannex.protocol.conversation import State
from p2pannex.protocol.errors import RemoteProtocolError
from p2pannex.protocol.messages import ConnectDone, Data, Error
from p2pannex.transports.pump import SMALL_BODY


class TunnelStream(trio.abc.HalfCloseableStream):
    """What the far side of a CONNECT sends and takes, as a stream. One task may send while another receives.

    Raises ConnectionLost where the connection breaks, and RemoteError where the far side says ERROR. `exit_code` is
    set at its end on the client.
    """

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
            try:
                message = await peer.receive(math.inf)
            except RemoteProtocolError as error:
                raise ConnectionLost(error.reply or str(error)) from error
            if message is None:
                return b""
            if isinstance(message, ConnectDone):
                self.exit_code = message.exit_code
                return b""
            if isinstance(message, Error):
                raise RemoteError(message.message)
            assert isinstance(message, Data)
        block = bytearray(min(max_bytes or SMALL_BODY, SMALL_BODY))
        count = await peer.read_body(memoryview(block))
        return bytes(block[:count])

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data` in messages of their own."""
        async with self._sending:
            for start in range(0, len(data), SMALL_BODY):
                if self._peer.conversation.state is not State.CONNECTED:
                    raise ConnectionLost("the far side takes no more: the git program has ended")
                part = memoryview(data)[start : start + SMALL_BODY]
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


async def relay(peer: Peer, stream: trio.abc.HalfCloseableStream) -> int:
    """A client's part after CONNECT: relay `stream` both ways until the server says CONNECTDONE; the exit code.

    RemoteError where the server refuses; ConnectionLost where either side breaks.
    """
    carried = TunnelStream(peer)
    failure: RemoteError | ConnectionLost | None = None

    async def send() -> None:
        nonlocal failure
        try:
            async for data in stream:
                try:
                    await carried.send_all(data)
                except ConnectionLost as error:
                    # A server closes once it has said how the program ended: that is perhaps on its way to us.
                    failure = error
                    nursery.cancel_scope.deadline = trio.current_time() + peer.timeout
                    return
        except (RemoteError, ConnectionLost, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            failure = ConnectionLost(f"the local side is gone: {error}")
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        try:
            async for data in carried:
                await stream.send_all(data)
        except (RemoteError, ConnectionLost) as error:
            failure = error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            failure = ConnectionLost(f"the local side is gone: {error}")
        nursery.cancel_scope.cancel()
    if carried.exit_code is not None:
        return carried.exit_code
    raise failure or ConnectionLost("the server closed the connection before the git program ended")
