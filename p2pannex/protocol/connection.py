"""One end of a conversation over bytes, sans-IO: it uses no clock, no file and no socket.

To embed it:

1. Create it: ``Connection(Side.CLIENT, authenticated=True)``.
2. Pass it the bytes that arrive: ``receive_data(data)``, with ``b""`` at the end of the stream.
3. Call ``next_event()`` until it returns `NEED_DATA`, `PAUSED` or `CLOSED`.
4. To send a message, send the bytes that ``send(message)`` returns.
5. After a `Data` message, move the body yourself. To receive it, first call ``take_body(n)``, which returns the bytes
   that arrived together with the line. Then read the rest and report each part with ``body_received(n)``. To send it,
   report each part with ``body_sent(n)``. When the whole body was moved, the state changes.

The connection never replies by itself. After a `RemoteProtocolError` with a `reply`, send ``Error(reply)`` and go on.
The state changes when ``next_event()`` returns a message, not when its bytes arrive. Lines that arrive early are kept
until their turn (`PAUSED`).
"""

from __future__ import annotations

from enum import Enum

from p2pannex.protocol.conversation import BODIES, ENDED, TABLE, Conversation, Side, State, opening_state
from p2pannex.protocol.errors import LocalProtocolError, RemoteProtocolError
from p2pannex.protocol.messages import MAX_LINE, Message, UnparsableMessage, parse_message


class Wait(Enum):
    """Why `Connection.next_event` returns no message."""

    NEED_DATA = "need data"
    PAUSED = "paused"
    CLOSED = "closed"


NEED_DATA, PAUSED, CLOSED = Wait.NEED_DATA, Wait.PAUSED, Wait.CLOSED
"""NEED_DATA: receive more bytes. PAUSED: it is our turn to send, or a body has to be moved first. CLOSED: the stream
ended between two lines, or the conversation has ended."""


class Connection(Conversation):
    """One end of a conversation, serialized as lines (protocol-spec section 2).

    `authenticated` is true if the transport has authenticated the client already (ssh, stdio). `state` overrides the
    state in which the conversation starts, for a program that sent AUTH-SUCCESS before it imported this module.
    """

    __slots__ = ("_data", "_eof", "_failed", "_start")

    def __init__(self, side: Side, *, authenticated: bool = True, state: State | None = None) -> None:
        super().__init__(side, state if state is not None else opening_state(authenticated=authenticated))
        self._data = b""
        self._start = 0  # the bytes of _data before this index are consumed
        self._eof = False
        self._failed = False

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes that arrived; empty means that the stream has ended.

        The bytes are kept until they are consumed, so the caller should limit how many it passes at a time.
        """
        if not data:
            self._eof = True
        elif self._eof:
            raise LocalProtocolError("data after the end of the stream")
        else:
            self._data = self._data[self._start :] + data if self._start < len(self._data) else bytes(data)
            self._start = 0

    @property
    def buffered(self) -> int:
        """How many bytes were received and not yet consumed."""
        return len(self._data) - self._start

    def next_event(self) -> Message | Wait:
        """The next message from the other side, or the reason why there is none.

        RemoteProtocolError for a line that is not allowed. If the error is `fatal`, the connection can only be closed.
        """
        if self.state is ENDED or self._failed:
            return CLOSED
        if self.incoming or self._other not in TABLE[self.state] or self.state in BODIES:
            return CLOSED if self._eof and not self.buffered else PAUSED
        data, start = self._data, self._start
        end = data.find(b"\n", start, start + MAX_LINE)
        if end < 0:
            return self._no_line()
        line = data[start:end]
        self._start = end + 1
        try:
            message = parse_message(line)
        except UnparsableMessage as problem:
            error = self._fail_if_fatal(self.bad_line(str(problem), unknown=True))
            error.line = line
            raise error from None
        try:
            self.receiving(message)
        except RemoteProtocolError as error:
            self._fail_if_fatal(error)
            raise
        return message

    def _no_line(self) -> Wait:
        if self.buffered < MAX_LINE and not self._eof:
            return NEED_DATA
        if not self.buffered:
            return CLOSED
        ended = self.buffered < MAX_LINE
        self._failed = True
        self._data, self._start = b"", 0
        if ended:
            raise RemoteProtocolError("the stream ended in the middle of a line", reply=None, fatal=True)
        error = self.bad_line(f"a line of over {MAX_LINE} bytes", unknown=True)
        raise RemoteProtocolError(str(error), reply=error.reply and "line too long", fatal=True)

    def _fail_if_fatal(self, error: RemoteProtocolError) -> RemoteProtocolError:
        self._failed |= error.fatal
        return error

    def send(self, message: Message) -> bytes:
        """The bytes to send for `message`. LocalProtocolError, with the state unchanged, if it is not allowed now."""
        try:
            line = message.format()
        except ValueError as problem:
            raise LocalProtocolError(f"{message.verb.decode()}: {problem}") from None
        self.sending(message)
        return line

    def take_body(self, limit: int | None = None) -> bytes:
        """Bytes of the body that arrived together with earlier lines, at most `limit`. They are counted as received.

        Empty if there are none left: the caller then reads the rest of the body itself.
        """
        count = min(self.incoming, self.buffered)
        if limit is not None:
            count = min(count, limit)
        if not count:
            return b""
        taken = self._data[self._start : self._start + count]
        self._start += count
        self.body_received(count)
        return taken

    @property
    def ended(self) -> bool:
        """True if neither side can send anything more."""
        return self.state is ENDED or self._failed


__all__ = ["CLOSED", "NEED_DATA", "PAUSED", "Connection", "Wait"]
