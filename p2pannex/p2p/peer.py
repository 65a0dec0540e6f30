"""A peer: one end of a conversation, attached to something that carries it.

`Peer` is what `serve` and `Remote` talk through: messages out and in, and the bytes of bodies. `StreamPeer` carries
them over any ``trio.abc.Stream``; `p2pannex.p2p.memory` has one that carries them inside the process.

What is sent is kept until the peer waits for the far side (or `flush`), so that an answer, its body and the line after
it leave in one write where they are small.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar, runtime_checkable

import trio

from p2pannex.errors import ConnectionLost
from p2pannex.protocol.connection import CLOSED, NEED_DATA, Connection, Wait
from p2pannex.protocol.conversation import BETWEEN_REQUESTS, Conversation, Side, State
from p2pannex.protocol.errors import LocalProtocolError, RemoteProtocolError
from p2pannex.protocol.messages import MAX_LINE, Message
from p2pannex.service import DirectBody
from p2pannex.transports.pump import SMALL_BODY

T = TypeVar("T")
R = TypeVar("R")

PEER_TIMEOUT = 60.0
"""Seconds that a peer waits for the far side to take or give the next bytes, unless set otherwise."""


SLICE = 256 * 1024
"""Bytes of a body for which one deadline stands: the slowest link that is borne sends this many in PEER_TIMEOUT."""


@runtime_checkable
class ReceivesInto(Protocol):
    """A stream that can read into the caller's block."""

    async def receive_into(self, view: memoryview) -> int: ...


@runtime_checkable
class ReceivesNow(Protocol):
    """A stream that can give what has arrived without waiting; None where nothing has."""

    def receive_nowait(self) -> bytes | None: ...


@runtime_checkable
class SendsNow(Protocol):
    """A stream that can send what the far side takes at once; how many bytes, perhaps none."""

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int: ...


@runtime_checkable
class SendsFiles(Protocol):
    """A stream that can send a file's bytes without their passing through the process."""

    async def send_file(self, source: int, offset: int, count: int) -> int: ...


@runtime_checkable
class Splices(Protocol):
    """A stream that can pass on what arrives to another one without its passing through the process."""

    def splice_nowait(self, target: object, count: int) -> int | None: ...

    async def wait_receive_might_not_block(self) -> None: ...


class Peer(abc.ABC):
    """One end of a conversation. `timeout`, in seconds, stands on every wait for the far side."""

    conversation: Conversation
    timeout: float

    def __init__(self) -> None:
        self.poisoned = False
        """True once the conversation was left in the middle of something: it can only be closed."""

    @abc.abstractmethod
    def queue(self, message: Message) -> None:
        """Send `message` with what comes next. LocalProtocolError where it is not allowed now."""

    @abc.abstractmethod
    async def flush(self) -> None:
        """Send what is queued."""

    async def send(self, *messages: Message) -> None:
        """Send messages now."""
        for message in messages:
            self.queue(message)
        await self.flush()

    @abc.abstractmethod
    async def receive(self, timeout: float | None = None) -> Message | None:
        """Send what is queued and wait for the next message; None where the far side closed between two.

        `timeout` in seconds replaces the peer's own for this wait. ConnectionLost where it passes, or where the
        stream breaks; RemoteProtocolError for a line that is not allowed; LocalProtocolError where the next message
        is not the far side's.
        """

    @abc.abstractmethod
    async def wait_left(self) -> None:
        """Wait, while it is our turn, until the far side closes or the connection breaks.

        What it sends meanwhile is kept for `receive`. It may be cancelled without harm.
        """

    @abc.abstractmethod
    async def read_body(self, view: memoryview) -> int:
        """The next bytes of the far side's body into `view`, at least one; 0 after its last.

        ConnectionLost where the stream ends first: that is how a far side stops in the middle.
        """

    @abc.abstractmethod
    async def write_body(self, view: memoryview) -> None:
        """Send the next bytes of our body."""

    async def write_file(self, source: int, offset: int, count: int) -> int | None:
        """Send the next bytes of our body from a file; how many, 0 at its end. None where this peer cannot.

        OSError where the file cannot be read: then nothing was sent, and the body can go on otherwise.
        """
        return None

    async def pass_body(self, target: DirectBody, count: int) -> int | None:
        """Send the next bytes of the far side's body as those of `target`'s; how many, at most `count`. None where
        these peers cannot, or where one of them fails: `read_body` and `write_body` then tell which, and why."""
        return None

    @property
    def reusable(self) -> bool:
        """Whether the conversation is between requests, and the connection seems to be up."""
        return not self.poisoned and self.conversation.state in BETWEEN_REQUESTS

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Close the connection."""


class StreamPeer(Peer):
    """A peer over any ``trio.abc.Stream``, which it owns.

    `authenticated` tells whether the stream is (ssh, stdio): then the server greets. `state` says where a
    conversation stands that began before this object was made.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        side: Side,
        *,
        authenticated: bool = True,
        state: State | None = None,
        timeout: float = PEER_TIMEOUT,
    ) -> None:
        super().__init__()
        self.stream = stream
        self.timeout = timeout
        self.connection = self.conversation = Connection(side, authenticated=authenticated, state=state)
        self._out = bytearray()
        self._send_nowait = stream.send_nowait if isinstance(stream, SendsNow) else None
        self._receive_nowait = stream.receive_nowait if isinstance(stream, ReceivesNow) else None
        self._receive_into = stream.receive_into if isinstance(stream, ReceivesInto) else None
        self._send_file = stream.send_file if isinstance(stream, SendsFiles) else None
        self._splices = stream if isinstance(stream, Splices) else None

    def queue(self, message: Message) -> None:
        self._out += self.connection.send(message)

    async def flush(self) -> None:
        if self._out:
            out, self._out = self._out, bytearray()
            await self._write(out)

    async def _write(self, data: bytearray | memoryview) -> None:
        if self._send_nowait is not None and not self.poisoned:
            # Most answers fit into the pipe at once, and need neither a deadline nor a turn of the scheduler.
            try:
                sent = self._send_nowait(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                sent = 0  # send_all will find the same, and can say why
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        await self._sending(self.stream.send_all, data)

    async def _sending(self, operation: Callable[[T], Awaitable[R]], argument: T) -> R:
        if self.poisoned:
            raise ConnectionLost("the connection was left in the middle of a message")
        try:
            return await self._in_time(operation, argument, self.timeout)
        except BaseException:
            # A write that is cancelled may have sent a part: nobody can tell what the far side has seen.
            self.poisoned = True
            raise

    async def _in_time(self, operation: Callable[[T], Awaitable[R]], argument: T, seconds: float) -> R:
        try:
            if seconds == math.inf:
                return await operation(argument)
            with trio.move_on_after(seconds):
                return await operation(argument)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.poisoned = True
            raise ConnectionLost(f"the connection broke: {error}") from error
        self.poisoned = True
        raise ConnectionLost(f"the far side did nothing for {seconds:g} s")

    async def receive(self, timeout: float | None = None) -> Message | None:
        if self._out:
            await self.flush()
        connection = self.connection
        seconds = self.timeout if timeout is None else timeout
        if not connection.buffered and not connection.incoming and connection.their_turn and not connection.ended:
            connection.receive_data(await self._received(seconds))
        while True:
            try:
                event = connection.next_event()
            except RemoteProtocolError as error:
                self.poisoned |= error.reply is None
                raise
            if not isinstance(event, Wait):
                return event
            if event is CLOSED:
                return None
            if event is not NEED_DATA:
                raise LocalProtocolError(f"receive() out of turn, in state {connection.state.value}")
            connection.receive_data(await self._received(seconds))

    async def _received(self, seconds: float) -> bytes | bytearray:
        """The next bytes from the far side."""
        if self._receive_nowait is not None and seconds != math.inf:
            # What is there already needs no deadline, which costs as much as to read, and to understand, a line.
            await trio.lowlevel.checkpoint_if_cancelled()
            try:
                data = self._receive_nowait()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = None  # receive_some will find the same
            if data:
                return data  # of an end, receive_some knows what it means
        return await self._in_time(self.stream.receive_some, SMALL_BODY, seconds)

    async def wait_left(self) -> None:
        connection = self.connection
        while connection.buffered < MAX_LINE:
            try:
                data = await self.stream.receive_some(SMALL_BODY)
            except (trio.BrokenResourceError, trio.ClosedResourceError, ConnectionLost):
                return
            connection.receive_data(data)
            if not data:
                return
        await trio.sleep_forever()  # who sends ahead that much cannot be watched any more

    async def read_body(self, view: memoryview) -> int:
        connection = self.connection
        if not connection.incoming:
            return 0
        if connection.buffered:
            data = connection.take_body(len(view))
            view[: len(data)] = data
            return len(data)
        want = min(len(view), connection.incoming)
        count = await self._read_into(view[:want])
        if not count:
            self.poisoned = True
            raise ConnectionLost(f"the far side closed with {connection.incoming} bytes still to come")
        connection.body_received(count)
        return count

    async def _read_into(self, view: memoryview) -> int:
        if self._receive_into is not None:
            return await self._in_time(self._receive_into, view, self.timeout)
        # Never more than the body holds: what follows it is a line.
        data = await self._in_time(self.stream.receive_some, len(view), self.timeout)
        view[: len(data)] = data
        return len(data)

    async def write_body(self, view: memoryview) -> None:
        self.connection.body_sent(len(view))
        if len(self._out) + len(view) <= SMALL_BODY:
            self._out += view
            return
        await self.flush()
        for start in range(0, len(view), SLICE):
            await self._write(view[start : start + SLICE])

    async def write_file(self, source: int, offset: int, count: int) -> int | None:
        if self._send_file is None:
            return None
        await self.flush()
        send_file = self._send_file
        try:
            sent = await self._sending(lambda range_: send_file(*range_), (source, offset, count))
        except OSError:
            self.poisoned = False  # the file cannot be read, and nothing of it was sent
            raise
        self.connection.body_sent(sent)
        return sent

    async def pass_body(self, target: DirectBody, count: int) -> int | None:
        if self._splices is None or not isinstance(target, StreamPeer) or self.poisoned:
            return None
        if self.connection.buffered:
            data = self.connection.take_body(count)
            await target.write_body(memoryview(data))
            return len(data)
        await target.flush()
        while not target.poisoned:
            moved = self._splices.splice_nowait(target.stream, count)
            if moved is None:
                return None
            if moved:
                self.connection.body_received(moved)
                target.connection.body_sent(moved)
                await trio.lowlevel.checkpoint_if_cancelled()
                return moved
            # Either of the two may be what there is to wait for; the other is ready then.
            await self._ready(self._splices.wait_receive_might_not_block)
            await target._ready(target.stream.wait_send_all_might_not_block)
        return None

    async def _ready(self, wait: Callable[[], Awaitable[None]]) -> None:
        await self._in_time(lambda _: wait(), None, self.timeout)

    @property
    def reusable(self) -> bool:
        # Bytes that came unasked, or an end that was already seen, say that the far side is not where we think.
        at_end = getattr(self.stream, "at_end", None)
        return super().reusable and not self.connection.buffered and not (at_end is not None and at_end())

    async def aclose(self) -> None:
        self.poisoned = True
        await self.stream.aclose()
