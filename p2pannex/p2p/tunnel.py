"""CONNECT (protocol-spec section 10): a byte stream inside DATA messages, in both directions at once.

It is the only part of the protocol that is not half duplex, and it uses a connection to its end. There is no timeout on
the other side's next message, because git is silent while it packs objects or runs hooks. The peer's timeout applies to
each write, and to each body that was announced.
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
    """The bytes of a CONNECT, as a stream. One task may send while another receives.

    Raises ConnectionLost if the connection breaks, and RemoteError if the other side sends ERROR. On the client,
    `exit_code` is set when the server has sent CONNECTDONE.
    """

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._sending = trio.Lock()
        self.exit_code: int | None = None

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """At least one byte; empty when the other side has finished."""
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
        """Send all of `data`, in one or more DATA messages."""
        async with self._sending:
            for start in range(0, len(data), SMALL_BODY):
                if self._peer.conversation.state is not State.CONNECTED:
                    raise ConnectionLost("the git program has ended and accepts no more bytes")
                part = memoryview(data)[start : start + SMALL_BODY]
                self._peer.queue(Data(len(part)))
                await self._peer.write_body(part)
                await self._peer.flush()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        """Does nothing: the protocol has no message for it. The server ends CONNECT with CONNECTDONE."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Does nothing: the creator of the stream owns the peer and closes it."""
        await trio.lowlevel.checkpoint()


async def relay(peer: Peer, stream: trio.abc.HalfCloseableStream) -> int:
    """The client's part of CONNECT: relay `stream` both ways until CONNECTDONE. Returns the git program's exit code.

    RemoteError if the server refuses; ConnectionLost if the connection or `stream` breaks.
    """
    tunnel = TunnelStream(peer)
    failure: RemoteError | ConnectionLost | None = None

    async def send() -> None:
        nonlocal failure
        try:
            async for data in stream:
                try:
                    await tunnel.send_all(data)
                except ConnectionLost as error:
                    # The server closes after CONNECTDONE. That message may still arrive, so wait for it.
                    failure = error
                    nursery.cancel_scope.deadline = trio.current_time() + peer.timeout
                    return
        except (RemoteError, ConnectionLost, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            failure = ConnectionLost(f"the local side broke: {error}")
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        try:
            async for data in tunnel:
                await stream.send_all(data)
        except (RemoteError, ConnectionLost) as error:
            failure = error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            failure = ConnectionLost(f"the local side broke: {error}")
        nursery.cancel_scope.cancel()
    if tunnel.exit_code is not None:
        return tunnel.exit_code
    raise failure or ConnectionLost("the server closed the connection before the git program ended")
