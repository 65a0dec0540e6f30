"""`StreamPeer`: a peer over any ``trio.abc.Stream``.

A stream may be able to do more than ``trio.abc.Stream`` requires: read into the caller's buffer, read or send without
waiting, send a file, or move bytes to another stream. A protocol below describes each of these. The peer uses what its
stream has; without it, the result is the same, only slower.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar, runtime_checkable

import trio

from p2pannex.errors import ConnectionLost
from p2pannex.p2p.peer import PEER_TIMEOUT, Peer
from p2pannex.protocol.connection import CLOSED, NEED_DATA, Connection, Wait
from p2pannex.protocol.conversation import Side, State
from p2pannex.protocol.errors import LocalProtocolError, RemoteProtocolError
from p2pannex.protocol.messages import MAX_LINE, Message
from p2pannex.service import DirectBody
from p2pannex.transports.pump import SMALL_BODY

T = TypeVar("T")
R = TypeVar("R")

SERVERS = ("p2pannex-shell", "p2pannex", "git-annex-shell")
"""The programs whose lines on standard error are remarks of a server. They begin with the program's name."""

SLICE = 256 * 1024
"""Bytes of a body that must be sent within one timeout. With PEER_TIMEOUT, a link may be as slow as 4 KiB a second."""


@runtime_checkable
class ReceivesInto(Protocol):
    """A stream that can read into the caller's buffer."""

    async def receive_into(self, view: memoryview) -> int: ...


@runtime_checkable
class ReceivesNow(Protocol):
    """A stream that can return what has arrived, without waiting."""

    def receive_nowait(self) -> bytes | None:
        """The bytes that have arrived: empty at the end of the stream, None if nothing has arrived."""
        ...


@runtime_checkable
class SendsNow(Protocol):
    """A stream that can send without waiting."""

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """Send as much of `data` as is accepted immediately. Returns how many bytes, possibly 0."""
        ...


@runtime_checkable
class HangsUp(Protocol):
    """A stream that can tell, without reading, that the other side has closed."""

    def hung_up(self) -> bool: ...


@runtime_checkable
class SendsFiles(Protocol):
    """A stream that can send a file without reading it into this process."""

    async def send_file(self, source: int, offset: int, count: int) -> int: ...


@runtime_checkable
class Splices(Protocol):
    """A stream that can move what arrives to another stream without reading it into this process."""

    def splice_nowait(self, target: object, count: int) -> int | None: ...

    async def wait_receive_might_not_block(self) -> None: ...


class StreamPeer(Peer):
    """A peer over any ``trio.abc.Stream``, which it owns.

    `authenticated` is true if the transport has authenticated the client (ssh, stdio); the server then sends
    AUTH-SUCCESS first. `state` is the state of a conversation that started before this object was created. `timeout`,
    in seconds, is PEER_TIMEOUT on the client's side and unlimited on the server's, unless it is given.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        side: Side,
        *,
        authenticated: bool = True,
        state: State | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__()
        self.stream = stream
        self.timeout = timeout if timeout is not None else PEER_TIMEOUT if side is Side.CLIENT else math.inf
        self.connection = self.conversation = Connection(side, authenticated=authenticated, state=state)
        self._out = bytearray()
        self._send_nowait = stream.send_nowait if isinstance(stream, SendsNow) else None
        self._receive_nowait = stream.receive_nowait if isinstance(stream, ReceivesNow) else None
        self._receive_into = stream.receive_into if isinstance(stream, ReceivesInto) else None
        self._send_file = stream.send_file if isinstance(stream, SendsFiles) else None
        self._splices = stream if isinstance(stream, Splices) else None
        self._error_lines: Callable[[], list[str]] | None = getattr(stream, "new_error_lines", None)

    def remarks(self) -> list[str]:
        lines = [] if self._error_lines is None else self._error_lines()
        return [text for line in lines for program, colon, text in [line.partition(": ")] if program in SERVERS]

    def queue(self, message: Message) -> None:
        self._out += self.connection.send(message)

    async def flush(self) -> None:
        if self._out:
            out, self._out = self._out, bytearray()
            await self._write(out)

    async def _write(self, data: bytearray | memoryview) -> None:
        if self._send_nowait is not None and not self.poisoned:
            # Most replies fit into the pipe immediately. They need no deadline, and the scheduler need not run.
            try:
                sent = self._send_nowait(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                sent = 0  # send_all will fail as well, and knows the reason
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        await self._sending(self.stream.send_all, data)

    async def _sending(self, operation: Callable[[T], Awaitable[R]], argument: T) -> R:
        if self.poisoned:
            raise ConnectionLost("the connection was left in the middle of a message")
        try:
            return await self._in_time(operation, argument, self.patience)
        except BaseException:
            # A write that is cancelled may have sent a part: it is not known what the other side has received.
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
        raise ConnectionLost(f"the other side did nothing for {seconds:g} s")

    async def receive(self, timeout: float | None = None) -> Message | None:
        if self._out:
            await self.flush()
        connection = self.connection
        seconds = self.patience if timeout is None else timeout
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
        """The next bytes from the other side."""
        if self._receive_nowait is not None and seconds != math.inf:
            # Bytes that have arrived need no deadline. Setting one takes as long as reading and parsing a line.
            await trio.lowlevel.checkpoint_if_cancelled()
            try:
                data = self._receive_nowait()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = None  # receive_some will fail as well, and knows the reason
            if data:
                return data  # at the end of the stream, receive_some may raise an error that explains it
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
        await trio.sleep_forever()  # the buffer is full: a disconnect can no longer be detected

    def has_left(self) -> bool:
        return isinstance(self.stream, HangsUp) and self.stream.hung_up()

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
            raise ConnectionLost(f"the other side closed the connection with {connection.incoming} bytes still to come")
        connection.body_received(count)
        return count

    async def _read_into(self, view: memoryview) -> int:
        if self._receive_into is not None:
            return await self._in_time(self._receive_into, view, self.patience)
        # Never read beyond the body: the bytes after it are a line.
        data = await self._in_time(self.stream.receive_some, len(view), self.patience)
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
            self.poisoned = False  # the file could not be read, so no part of it was sent
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
            # Nothing moved because one of the two streams is not ready. Waiting for a ready one returns immediately.
            await self._ready(self._splices.wait_receive_might_not_block)
            await target._ready(target.stream.wait_send_all_might_not_block)
        return None

    async def _ready(self, wait: Callable[[], Awaitable[None]]) -> None:
        await self._in_time(lambda _: wait(), None, self.patience)

    @property
    def reusable(self) -> bool:
        # If bytes arrived without a request, or the stream has ended, the other side is not between requests.
        at_end = getattr(self.stream, "at_end", None)
        return super().reusable and not self.connection.buffered and not (at_end is not None and at_end())

    async def aclose(self) -> None:
        self.poisoned = True
        await self.stream.aclose()
