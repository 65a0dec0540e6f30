"""The protocol rules, as one literal table.

Apart from CONNECT the protocol is half duplex: client and server share one state, and in each state it is one side's
turn. `TABLE` maps each state to the side (or sides) that may send, and each message that it may send to the next state.
No other module contains such rules. The connection checks every message against the table, sent or received; the
documents, the diagrams, the fuzzers and the exhaustive tests read it.

A request and its replies, for example PUT at version 1 or later::

    client  IDLE --PUT--> PUT_OFFER              server     PUT_OFFER --PUT-FROM--> PUT_DATA
    client  PUT_DATA --DATA n--> PUT_BODY        (n bytes)  PUT_BODY --> PUT_VALIDITY
    client  PUT_VALIDITY --VALID--> ANSWER_PLUS  server     ANSWER_PLUS --SUCCESS--> IDLE

Two rules do not fit in (state, message) pairs. Each is a literal below the table: the state after a body, which depends
on the version (`AFTER_BODY`), and the state after an ERROR that replies to a bad line (`AFTER_BAD_LINE`).
"""

from __future__ import annotations

from enum import Enum

from p2pannex.protocol import messages as m
from p2pannex.protocol.errors import LocalProtocolError, RemoteProtocolError


class Side(Enum):
    """The client opened the connection and sends requests; the server replies to them."""

    CLIENT = "client"
    SERVER = "server"

    @property
    def other(self) -> Side:
        return Side.SERVER if self is Side.CLIENT else Side.CLIENT

    __hash__ = object.__hash__  # members are singletons; Enum's own hash is written in Python


class State(Enum):
    """The state of a conversation. Both sides are always in the same state."""

    AUTHENTICATION = "authentication"
    AUTHENTICATION_ANSWER = "authentication answer"
    GREETING = "greeting"
    IDLE = "idle"
    VERSION_ANSWER = "version answer"
    ANSWER = "answer"
    ANSWER_PLUS = "answer, with uuids"
    TIMESTAMP_ANSWER = "timestamp answer"
    LOCKING = "locking"
    LOCKED = "locked"
    GET_DATA = "get: data"
    GET_BODY = "get: body"
    GET_VALIDITY = "get: validity"
    GET_RECEIPT = "get: receipt"
    PUT_OFFER = "put: offer"
    PUT_REFUSED = "put: refused"
    PUT_DATA = "put: data"
    PUT_BODY = "put: body"
    PUT_VALIDITY = "put: validity"
    WATCHING = "watching"
    CONNECTED = "connected"
    ENDED = "ended"

    __hash__ = object.__hash__


Rules = dict[type[m.Message], State]

CLIENT, SERVER = Side.CLIENT, Side.SERVER
ENDED = State.ENDED
S = State

REQUESTS: Rules = {
    m.Version: S.VERSION_ANSWER,
    m.Bypass: S.IDLE,
    m.CheckPresent: S.ANSWER,
    m.LockContent: S.LOCKING,
    m.Remove: S.ANSWER_PLUS,
    m.RemoveBefore: S.ANSWER_PLUS,
    m.GetTimestamp: S.TIMESTAMP_ANSWER,
    m.Get: S.GET_DATA,
    m.Put: S.PUT_OFFER,
    m.NotifyChange: S.WATCHING,
    m.Connect: S.CONNECTED,
}

TABLE: dict[State, dict[Side, Rules]] = {
    # Opening. On a socket the client sends AUTH first. If ssh has authenticated the client, the server sends first.
    S.AUTHENTICATION: {CLIENT: {m.Auth: S.AUTHENTICATION_ANSWER, m.Error: S.ENDED}},
    S.AUTHENTICATION_ANSWER: {SERVER: {m.AuthSuccess: S.IDLE, m.AuthFailure: S.ENDED, m.Error: S.ENDED}},
    S.GREETING: {SERVER: {m.AuthSuccess: S.IDLE, m.Error: S.ENDED}},
    # Between requests. If the server refuses a PUT with ERROR, git-annex's client sends an ERROR too and continues.
    S.IDLE: {CLIENT: {**REQUESTS, m.Error: S.ENDED}},
    S.PUT_REFUSED: {CLIENT: {**REQUESTS, m.Error: S.IDLE}},
    S.VERSION_ANSWER: {SERVER: {m.Version: S.IDLE, m.Error: S.IDLE}},
    S.ANSWER: {SERVER: {m.Success: S.IDLE, m.Failure: S.IDLE, m.Error: S.IDLE}},
    S.ANSWER_PLUS: {
        SERVER: {m.Success: S.IDLE, m.SuccessPlus: S.IDLE, m.Failure: S.IDLE, m.FailurePlus: S.IDLE, m.Error: S.IDLE}
    },
    S.TIMESTAMP_ANSWER: {SERVER: {m.Timestamp: S.IDLE, m.Error: S.IDLE}},
    # LOCKCONTENT
    S.LOCKING: {SERVER: {m.Success: S.LOCKED, m.Failure: S.IDLE, m.Error: S.IDLE}},
    S.LOCKED: {CLIENT: {m.UnlockContent: S.IDLE, m.Error: S.ENDED}},
    # GET
    S.GET_DATA: {SERVER: {m.Data: S.GET_BODY, m.Error: S.IDLE}},
    S.GET_BODY: {SERVER: {}},
    S.GET_VALIDITY: {SERVER: {m.Valid: S.GET_RECEIPT, m.Invalid: S.GET_RECEIPT, m.Error: S.IDLE}},
    S.GET_RECEIPT: {
        CLIENT: {m.Success: S.IDLE, m.SuccessPlus: S.IDLE, m.Failure: S.IDLE, m.FailurePlus: S.IDLE, m.Error: S.IDLE}
    },
    # PUT
    S.PUT_OFFER: {
        SERVER: {
            m.PutFrom: S.PUT_DATA,
            m.AlreadyHaveReply: S.IDLE,
            m.AlreadyHavePlusReply: S.IDLE,
            m.Error: S.PUT_REFUSED,
        }
    },
    S.PUT_DATA: {CLIENT: {m.Data: S.PUT_BODY, m.DataPresent: S.ANSWER_PLUS, m.Error: S.IDLE}},
    S.PUT_BODY: {CLIENT: {}},
    S.PUT_VALIDITY: {CLIENT: {m.Valid: S.ANSWER_PLUS, m.Invalid: S.ANSWER_PLUS, m.Error: S.ENDED}},
    # NOTIFYCHANGE and CONNECT, which need a git repository
    S.WATCHING: {SERVER: {m.Changed: S.IDLE, m.Error: S.IDLE}},
    S.CONNECTED: {
        CLIENT: {m.Data: S.CONNECTED, m.Error: S.ENDED},
        SERVER: {m.Data: S.CONNECTED, m.ConnectDone: S.ENDED, m.Error: S.ENDED},
    },
    S.ENDED: {},
}

AFTER_BODY: dict[State, tuple[tuple[int, State], ...]] = {
    # The state after the last byte of a body: (from this version on, state). The last pair that applies counts.
    S.GET_BODY: ((0, S.GET_RECEIPT), (1, S.GET_VALIDITY)),
    S.PUT_BODY: ((0, S.ANSWER_PLUS), (1, S.PUT_VALIDITY)),
    S.CONNECTED: ((0, S.CONNECTED),),
}

AFTER_BAD_LINE: dict[State, tuple[str, State]] = {
    # A line that the client was not allowed to send: the text of the server's ERROR, and the state after it. If the
    # line is malformed, the text is "unknown command" instead of "unexpected command".
    S.AUTHENTICATION: ("unexpected command", S.AUTHENTICATION),
    S.IDLE: ("unexpected command", S.IDLE),
    S.PUT_REFUSED: ("unexpected command", S.IDLE),
    S.PUT_DATA: ("expected DATA", S.IDLE),
    S.PUT_VALIDITY: ("expected VALID or INVALID", S.IDLE),
    S.GET_RECEIPT: ("expected SUCCESS or FAILURE", S.IDLE),
    S.LOCKED: ("expected UNLOCKCONTENT", S.IDLE),
    S.CONNECTED: ("expected DATA", S.ENDED),
}

BETWEEN_REQUESTS = frozenset({S.IDLE, S.PUT_REFUSED})
"""The states in which the client may send a request."""

ANY_VERSION = BETWEEN_REQUESTS | {S.TIMESTAMP_ANSWER}
"""The states in which a message of a later version than the negotiated one is accepted from the client, and sent by the
server (protocol-spec section 11). git-annex does the same. Within other requests such a message is a bad line."""

BODIES = frozenset({S.GET_BODY, S.PUT_BODY})
"""The half-duplex states in which the bytes of a body move, and no messages."""


def opening_state(*, authenticated: bool) -> State:
    """The state in which a conversation starts. If the client is authenticated, the server sends first (section 4)."""
    return S.GREETING if authenticated else S.AUTHENTICATION


def after_body(state: State, version: int) -> State:
    """The state after the last byte of a body that was sent in `state`."""
    return [follows for since, follows in AFTER_BODY[state] if since <= version][-1]


class Conversation:
    """The state and version of one conversation, seen from one side. It handles messages, not their bytes.

    `sending` and `receiving` check a message against the table and change the state. `body_sent` and `body_received`
    count the bytes of a body; the last byte changes the state.
    """

    __slots__ = ("_bad_line", "_offered", "_other", "incoming", "outgoing", "side", "state", "version")

    def __init__(self, side: Side, state: State) -> None:
        self.side = side
        self.state = state
        self.version = 0
        """The negotiated protocol version; 0 until the server has replied to VERSION."""
        self.incoming = 0
        """Bytes of the other side's body that we have not received yet."""
        self.outgoing = 0
        """Bytes of our body that we have not sent yet."""
        self._offered = m.LATEST_VERSION
        self._other = side.other
        self._bad_line = False

    @property
    def their_turn(self) -> bool:
        """True if the other side may send a message or, within a body of its own, bytes."""
        return self._other in TABLE[self.state]

    def allowed(self, side: Side) -> Rules:
        """The messages that `side` may send now, at the negotiated version, with the state that follows each."""
        rules = TABLE[self.state].get(side, {})
        return {message: state for message, state in rules.items() if message.since <= self.version}

    def sending(self, message: m.Message) -> None:
        """Check a message that we are about to send, and change the state.

        LocalProtocolError, with the state unchanged, if it is not allowed.
        """
        cls = type(message)
        rules = TABLE[self.state].get(self.side)
        if cls is m.Error and self._bad_line and self.state in AFTER_BAD_LINE and (rules is None or cls not in rules):
            # The reply to a client's bad line: the only message that may be sent out of turn.
            self._bad_line = False
            self.state = AFTER_BAD_LINE[self.state][1]
            return
        if self.outgoing:
            verb = message.verb.decode()
            raise LocalProtocolError(f"{verb} in the middle of a body: {self.outgoing} bytes are still to be sent")
        following = rules.get(cls) if rules is not None else None
        if following is None:
            verb = message.verb.decode()
            raise LocalProtocolError(f"{self.side.value} may not send {verb} in state {self.state.value}")
        if cls.since > self.version and not (self.side is SERVER and self.state in ANY_VERSION):
            raise LocalProtocolError(f"{message.verb.decode()} needs version {cls.since}, this is {self.version}")
        if not self._version_allowed(self.side, message):
            raise LocalProtocolError(f"{message}: the client did not offer this version")
        self._follow(self.side, message, following)

    def receiving(self, message: m.Message) -> None:
        """Check a message that the other side sent, and change the state.

        RemoteProtocolError, with the state unchanged, if it is not allowed.
        """
        cls = type(message)
        rules = TABLE[self.state].get(self._other)
        following = rules.get(cls) if rules is not None and not self.incoming else None
        if following is None or (cls.since > self.version and self.state not in ANY_VERSION):
            raise self.bad_line(f"unexpected {message.verb.decode()} in state {self.state.value}", unknown=False)
        if not self._version_allowed(self._other, message):
            raise self.bad_line(f"{message}: the client did not offer this version", unknown=False)
        self._bad_line = False
        self._follow(self._other, message, following)

    def _version_allowed(self, sender: Side, message: m.Message) -> bool:
        """False if `message` is a server's VERSION with a higher version than the client offered."""
        return (
            type(message) is not m.Version
            or sender is CLIENT
            or message.version <= min(self._offered, m.LATEST_VERSION)
        )

    def _follow(self, sender: Side, message: m.Message, following: State) -> None:
        """Change the state after a message that is allowed."""
        if type(message) is m.Version:
            if sender is CLIENT:
                self._offered = message.version
            else:
                self.version = message.version
        elif type(message) is m.Data:
            if sender is self.side:
                self.outgoing = message.length
            else:
                self.incoming = message.length
            if not message.length:
                following = after_body(following, self.version)
        self.state = following

    def bad_line(self, problem: str, *, unknown: bool) -> RemoteProtocolError:
        """The error for a line that is not allowed, with the reply that a server sends to it (section 3)."""
        if self.side is CLIENT:
            # The client cannot know the state of such a server any more, so it can only close the connection.
            return RemoteProtocolError(problem, reply=None, fatal=True)
        self._bad_line = self.state in AFTER_BAD_LINE
        text, _ = AFTER_BAD_LINE.get(self.state, ("unexpected command", self.state))
        if unknown and text == "unexpected command":
            text = "unknown command"
        return RemoteProtocolError(problem, reply=text)

    def body_sent(self, count: int) -> None:
        """Count `count` bytes of our body as sent."""
        if not 0 <= count <= self.outgoing:
            raise LocalProtocolError(f"{count} bytes sent, {self.outgoing} were still to be sent")
        self.outgoing -= count
        if count and not self.outgoing:
            self._body_ended()

    def body_received(self, count: int) -> None:
        """Count `count` bytes of the other side's body as received."""
        if not 0 <= count <= self.incoming:
            raise LocalProtocolError(f"{count} bytes received, {self.incoming} were still to be received")
        self.incoming -= count
        if count and not self.incoming:
            self._body_ended()

    def _body_ended(self) -> None:
        if self.state is not ENDED:  # CONNECT can end in the middle of a body
            self.state = after_body(self.state, self.version)
