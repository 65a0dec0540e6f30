"""Checks transcripts against the protocol rules alone: with two `Connection` objects, no stream, no store, no clock.

Every client line is received by a server's connection. If the rules allow the line, a client's connection must be able
to send it. If they forbid it, the next step must be the ERROR that the rules require. Every server line is sent by the
server's connection and received by the client's. So a transcript that passes is a conversation that a client and a
server of this library can have.
"""

from __future__ import annotations

from collections import deque

from p2pannex.protocol import messages as m
from p2pannex.protocol.connection import CLOSED, PAUSED, Connection, Wait
from p2pannex.protocol.conversation import AFTER_BAD_LINE, BETWEEN_REQUESTS, Side, State
from p2pannex.protocol.errors import LocalProtocolError, RemoteProtocolError
from p2pannex.testing.transcripts import Kind, Mismatch, Step, Transcript, Values

UUID = "00000000-0000-4000-8000-000000000001"
BAD_LINE_ERRORS = {text for text, _ in AFTER_BAD_LINE.values()} | {"unknown command", "line too long"}


class _Pair:
    """The two ends of one connection."""

    def __init__(self, transcript: Transcript, values: Values) -> None:
        self.authenticated = "socket" not in transcript.needs
        self.server = Connection(Side.SERVER, authenticated=self.authenticated)
        self.client = Connection(Side.CLIENT, authenticated=self.authenticated)
        self.pending: deque[tuple[Step, bytes]] = deque()
        self.reply: str | None = None
        self.fatal = False
        self.client_closed = False
        if not transcript.spelled:
            self._across(m.AuthSuccess(UUID))
            self.server.receive_data(self.client.send(m.Version(values.version)))
            self.server.next_event()
            self._across(m.Version(values.version))

    def _across(self, message: m.AuthSuccess | m.Version) -> None:
        self.client.receive_data(self.server.send(message))
        self.client.next_event()

    def client_sends(self, step: Step, data: bytes) -> None:
        self.pending.append((step, data))
        self.server.receive_data(data)

    def run_server(self) -> None:
        """Let the server read what the client sent, until it is the server's turn."""
        while self.pending and self.reply is None:
            step, data = self.pending[0]
            if step.kind is Kind.CLIENT_BODY:
                self.pending.popleft()
                if not self.server.incoming:
                    continue  # part of a line without a line feed
                if self.server.take_body(len(data)) != data:
                    raise Mismatch(step.number, "these are not bytes of the body that was announced")
                self.client.body_sent(len(data))
                continue
            try:
                event = self.server.next_event()
            except RemoteProtocolError as error:
                self.pending.popleft()
                self.reply, self.fatal = error.reply, error.fatal
                return
            if event is PAUSED:
                return
            if isinstance(event, Wait):
                raise Mismatch(step.number, f"the server waits: {event.value}")
            self.pending.popleft()
            try:
                self.client.send(event)
            except LocalProtocolError as error:
                if event.since <= self.client.version:
                    raise Mismatch(
                        step.number, f"the server accepts it, but a client may not send it: {error}"
                    ) from None
                self.resume_client()

    def resume_client(self) -> None:
        """After a client line that breaks the rules, which our client cannot send: start one in the server's state."""
        self.client = Connection(Side.CLIENT, state=self.server.state)
        self.client.version = self.server.version

    def server_sends_line(self, step: Step, line: bytes) -> None:
        self.run_server()
        try:
            message = m.parse_message(line.removesuffix(b"\n"))
        except m.UnparsableMessage as problem:
            raise Mismatch(step.number, str(problem)) from None
        if self.reply is not None:
            expected = f"ERROR {self.reply}"
            if message != m.Error(self.reply):
                raise Mismatch(step.number, f"the protocol rules require: S: {expected}")
            if not self.fatal:
                self.server.send(message)
                self.resume_client()
            self.reply = None
            return
        if isinstance(message, m.Error) and message.message in BAD_LINE_ERRORS:
            raise Mismatch(step.number, "the protocol rules allow the line before")
        try:
            self.client.receive_data(self.server.send(message))
            event = self.client.next_event()
        except (LocalProtocolError, RemoteProtocolError) as error:
            raise Mismatch(step.number, str(error)) from None
        if event != message:
            raise Mismatch(step.number, f"the client received {event}")

    def server_sends_body(self, step: Step, data: bytes) -> None:
        self.run_server()
        try:
            self.server.body_sent(len(data))
        except LocalProtocolError as error:
            raise Mismatch(step.number, str(error)) from None
        self.client.receive_data(data)
        if self.client.take_body() != data:
            raise Mismatch(step.number, "the client did not receive this body")

    def server_sends_bad_line(self, step: Step, line: bytes) -> None:
        self.run_server()
        self.client.receive_data(line)
        try:
            event = self.client.next_event()
        except RemoteProtocolError as error:
            if not error.fatal:
                raise
            self.client_closed = True
            return
        raise Mismatch(step.number, f"the client accepted it: {event}")

    def close_client(self, step: Step) -> None:
        self.run_server()
        if self.pending or self.reply is not None:
            raise Mismatch(step.number, "the server has not replied yet")
        self.server.receive_data(b"")
        self.client_closed = True
        try:
            event = self.server.next_event()
        except RemoteProtocolError as error:
            if error.fatal:
                return
            raise
        if event is not CLOSED:
            raise Mismatch(step.number, f"the server did not see the end: {event}")

    def close_server(self, step: Step) -> None:
        self.run_server()
        if not (self.server.ended or self.client_closed or self.fatal):
            raise Mismatch(step.number, f"nothing makes the server close, it is {self.server.state.value}")
        self.client_closed = True

    def expect_state(self, number: int, state: State) -> None:
        self.run_server()
        for end in (self.server, self.client):
            if end.state is not state:
                raise Mismatch(number, f"the {end.side.value} is at {end.state.name}, not {state.name}")


def replay(transcript: Transcript, version: int) -> None:
    """Check a transcript against the protocol rules. Mismatch if it breaks them.

    A transcript must end between requests, unless it closes the connection or names another state in its last step.
    """
    values = Values(version, "replay", uuid=UUID)
    pairs: dict[int, _Pair] = {}
    last: dict[int, Step] = {}
    for step in transcript.steps_for(version, "p2pannex"):
        if step.connection not in pairs:
            pairs[step.connection] = _Pair(transcript, values)
        pair = pairs[step.connection]
        last[step.connection] = step
        match step.kind:
            case Kind.CLIENT_LINE:
                pair.client_sends(step, values.line(step.text))
            case Kind.CLIENT_BODY:
                pair.client_sends(step, values.body(step.text))
            case Kind.SERVER_LINE:
                pair.server_sends_line(step, values.line(step.text))
            case Kind.SERVER_BODY:
                pair.server_sends_body(step, values.body(step.text))
            case Kind.BAD_SERVER_LINE:
                pair.server_sends_bad_line(step, values.line(step.text))
            case Kind.CLIENT_CLOSES:
                pair.close_client(step)
            case Kind.SERVER_CLOSES:
                pair.close_server(step)
            case Kind.STATE:
                pair.expect_state(step.number, State[step.text])
    for connection, pair in pairs.items():
        step = last[connection]
        pair.run_server()
        if pair.reply is not None:
            raise Mismatch(step.number, f"the protocol rules require a reply: S: ERROR {pair.reply}")
        if not pair.client_closed and step.kind is not Kind.STATE:
            ended = pair.server.state if pair.server.state in BETWEEN_REQUESTS else State.IDLE
            pair.expect_state(step.number, ended)


__all__ = ["replay"]
