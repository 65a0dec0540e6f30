"""A peer: one end of a conversation, attached to a connection.

`serve` and `Remote` send and receive messages, and the bytes of bodies, through a `Peer`. `StreamPeer` is a peer over
any ``trio.abc.Stream`` (`p2pannex.p2p.stream_peer`); `p2pannex.p2p.memory` has one whose other side is in the same
process.

Messages are queued until the peer waits for the other side, or until `flush`. So a reply, a small body and the line
after it leave in one write.
"""

from __future__ import annotations

import abc

from p2pannex.protocol.conversation import BETWEEN_REQUESTS, Conversation
from p2pannex.protocol.messages import Message
from p2pannex.service import DirectBody, seconds_to_hash

PEER_TIMEOUT = 60.0
"""The default time, in seconds, that a client waits for the server to accept or send the next bytes.

If the server may have content to hash or to write to disk first, it waits longer (`Peer.patience`). A server waits for
its client without a limit, because the client may have to hash any amount of content in the middle of a transfer, and
does not say so. Its end is noticed all the same: the stream ends, or TCP finds that the other machine is gone.
"""


class Peer(abc.ABC):
    """One end of a conversation. `timeout`, in seconds, limits the waits for the other side; see `patience`."""

    conversation: Conversation
    timeout: float

    def __init__(self) -> None:
        self.poisoned = False
        """True if a message or a body was abandoned in the middle: the connection can only be closed."""
        self.unverified = 0
        """Bytes of content that the other side may have to hash, or to write to disk, before it goes on. Its own bytes:
        those of our body that it has got come on top. Set by the user of the peer for each request."""
        self.announced = 0
        """The length of our body, if `unverified` counts for it."""

    @property
    def patience(self) -> float:
        """Seconds that the next wait may take: `timeout`, and the time to hash what the other side has by now."""
        if not (self.unverified or self.announced):
            return self.timeout
        return self.timeout + seconds_to_hash(self.unverified + max(0, self.announced - self.conversation.outgoing))

    def has_left(self) -> bool:
        """Whether the other side is known to have closed the connection. This never waits, and reads nothing.

        False where that cannot be known without reading.
        """
        return False

    def remarks(self) -> list[str]:
        """What a server has written on its standard error since the last call, one line each, if that is captured.

        The protocol has no reason for FAILURE. `stream_peer.SERVERS` write it there before they reply.
        """
        return []

    @abc.abstractmethod
    def queue(self, message: Message) -> None:
        """Queue `message`: it is sent together with what follows it. LocalProtocolError if it is not allowed now."""

    @abc.abstractmethod
    async def flush(self) -> None:
        """Send what is queued."""

    async def send(self, *messages: Message) -> None:
        """Send messages immediately."""
        for message in messages:
            self.queue(message)
        await self.flush()

    @abc.abstractmethod
    async def receive(self, timeout: float | None = None) -> Message | None:
        """Send what is queued and wait for the next message. None if the other side closed between two messages.

        `timeout`, in seconds, replaces `patience` for this wait. ConnectionLost after the timeout, or if
        the stream breaks; RemoteProtocolError for a line that is not allowed; LocalProtocolError if it is not the other
        side's turn.
        """

    @abc.abstractmethod
    async def wait_left(self) -> None:
        """Wait, while it is our turn, until the other side closes or the connection breaks.

        What the other side sends meanwhile is kept for `receive`. Cancelling this wait is safe.
        """

    @abc.abstractmethod
    async def read_body(self, view: memoryview) -> int:
        """Read the next bytes of the other side's body into `view`. Returns how many, at least one; 0 after the last.

        Cancelling this loses no bytes.
        ConnectionLost if the stream ends before the body does: the other side has stopped in the middle.
        """

    @abc.abstractmethod
    async def write_body(self, view: memoryview) -> None:
        """Send the next bytes of our body."""

    async def write_file(self, source: int, offset: int, count: int) -> int | None:
        """Send the next bytes of our body from a file. Returns how many, 0 at the file's end; None if this peer cannot.

        OSError if the file cannot be read. Nothing was sent then, and the body can continue with `write_body`.
        """
        return None

    async def pass_body(self, target: DirectBody, count: int) -> int | None:
        """Send the next bytes of the other side's body as bytes of `target`'s body. Returns how many, at most `count`.

        None if these peers cannot do it, or if one of them has failed: `read_body` or `write_body` then raises the
        error.
        """
        return None

    @property
    def reusable(self) -> bool:
        """Whether another request can be made: the conversation is between requests, and the connection seems alive."""
        return not self.poisoned and self.conversation.state in BETWEEN_REQUESTS

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Close the connection."""
