"""A conversation over bytes, and nothing but: no clock, no file, no socket (that is what sans-IO means).

Five steps to embed it:

1. make one: ``Connection(Side.CLIENT, authenticated=True)``;
2. hand it what arrived: ``receive_data(data)``, with ``b""`` at the end of the stream;
3. call ``next_event()`` until it returns `NEED_DATA`, `PAUSED` or `CLOSED`;
4. send the bytes that ``send(message)`` returns;
5. after a `Data` message, move the body yourself. Of the bytes of a body that we receive, some may have come
   together with the line: ``take_body(n)`` gives those. Read the rest from where you like and tell
   ``body_received(n)``. For a body that we send, tell ``body_sent(n)``. When none are left the state moves.

The connection never answers by itself. After a `RemoteProtocolError` with a `reply`, send ``Error(reply)`` and go on.
The state moves as an event is handed out, never ahead of it; lines that came early wait for their turn (`PAUSED`).
"""

from __future__ import annotations

from enum import Enum

from p2pannex.protocol.conversation import BODIES, ENDED, TABLE, Conversation, Side, State, opening_state
from p2pannex.protocol.errors import LocalProtocolError, RemoteProtocolError
from p2pannex.protocol.messages import MAX_LINE, Message, UnparsableMessage, parse_message


class Wait(Enum):
    """Why there is no event."""

    NEED_DATA = "need data"
    PAUSED = "paused"
    CLOSED = "closed"


NEED_DATA, PAUSED, CLOSED = Wait.NEED_DATA, Wait.PAUSED, Wait.CLOSED
"""NEED_DATA: receive more. PAUSED: it is our turn. CLOSED: the stream ended between two lines, or
the conversation has ended."""


class Connection(Conversation):
    """One end of the line-based serialization (protocol-spec section 2).

    `authenticated` tells whether the transport has authenticated the client already (ssh, stdio); `state` overrides
    where the conversation begins, for a program that has written AUTH-SUCCESS before it loaded this module.
    """

    __slots__ = ("_data", "_eof", "_failed", "_start")

    def __init__(self, side: Side, *, authenticated: bool = True, state: State | None = None) -> None:
        super().__init__(side, state if state is not None else opening_state(authenticated=authenticated))
        self._data = b""
        self._start = 0  # what lies before it in _data was consumed
        self._eof = False
        self._failed = False

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take what arrived; empty means that the stream has ended. Bound what you pass: it is kept until consumed."""
        if not data:
            self._eof = True
        elif self._eof:
            raise LocalProtocolError("data after the end of the stream")
        else:
            self._data = self._data[self._start :] + data if self._start < len(self._data) else bytes(data)
            self._start = 0

    @property
    def buffered(self) -> int:
        """Bytes that were received and not yet consumed."""
        return len(self._data) - self._start

    def next_event(self) -> Message | Wait:
        """The next message from the far side, or why there is none.

        RemoteProtocolError for a line that is not allowed; when `fatal` the connection is of no further use.
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
            raise self._fail_if_fatal(self.bad_line(str(problem), unknown=True)) from None
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
        """The bytes to send for `message`. LocalProtocolError where it is not allowed: then nothing has moved."""
        try:
            line = message.format()
        except ValueError as problem:
            raise LocalProtocolError(f"{message.verb.decode()}: {problem}") from None
        self.sending(message)
        return line

    def take_body(self, limit: int | None = None) -> bytes:
        """Bytes of the body that arrived with the lines before it, at most `limit`; counted as received.

        Empty once they are spent: the rest of the body is the caller's to read.
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
        """True once nothing more can be said by either side."""
        return self.state is ENDED or self._failed


__all__ = ["CLOSED", "NEED_DATA", "PAUSED", "Connection", "Wait"]
