"""The law, as one literal table.

Apart from CONNECT the protocol is half duplex, so client and server share one state, and in each state it is one
side's turn. `TABLE` maps a state to the side (or sides) that may speak and, for each message it may say, to the state
that follows. Nothing else in the project knows what may come after what: the connection checks both what the far side
sends and what we send against it; the documents, the diagrams, the fuzzers and the exhaustive tests read it.

A request and its answer, for example PUT at version 1 or later::

    client  IDLE --PUT--> PUT_OFFER            server  PUT_OFFER --PUT-FROM--> PUT_DATA
    client  PUT_DATA --DATA n--> PUT_BODY      (n bytes)  PUT_BODY --> PUT_VALIDITY
    client  PUT_VALIDITY --VALID--> PUT_ANSWER server  PUT_ANSWER --SUCCESS--> IDLE

What does not fit in (state, message) pairs is below the table, each a literal of its own: which state follows a body
(it depends on the version), and where an ERROR that answers a bad line leaves the conversation.
"""

from __future__ import annotations

from enum import Enum

from p2pannex.protocol import messages as m
from p2pannex.protocol.errors import LocalProtocolError, RemoteProtocolError


class Side(Enum):
    """Who opened the connection and sends requests, and who answers them."""

    CLIENT = "client"
    SERVER = "server"

    @property
    def other(self) -> Side:
        return Side.SERVER if self is Side.CLIENT else Side.CLIENT

    __hash__ = object.__hash__  # members are singletons; Enum's own hash is written in Python


class State(Enum):
    """Where a conversation stands. Both sides are always in the same one."""

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
    # Opening: on a socket the client authenticates; a pipe made by ssh is authenticated, the server greets.
    S.AUTHENTICATION: {CLIENT: {m.Auth: S.AUTHENTICATION_ANSWER, m.Error: S.ENDED}},
    S.AUTHENTICATION_ANSWER: {SERVER: {m.AuthSuccess: S.IDLE, m.AuthFailure: S.ENDED, m.Error: S.ENDED}},
    S.GREETING: {SERVER: {m.AuthSuccess: S.IDLE, m.Error: S.ENDED}},
    # Between requests. git-annex answers the refusal of a PUT with an ERROR of its own, and wants to go on.
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
    # Where a git repository is behind the server.
    S.WATCHING: {SERVER: {m.Changed: S.IDLE, m.Error: S.IDLE}},
    S.CONNECTED: {
        CLIENT: {m.Data: S.CONNECTED, m.Error: S.ENDED},
        SERVER: {m.Data: S.CONNECTED, m.ConnectDone: S.ENDED, m.Error: S.ENDED},
    },
    S.ENDED: {},
}

AFTER_BODY: dict[State, tuple[tuple[int, State], ...]] = {
    # what follows the last byte of a body: (from this version on, state), the highest that applies
    S.GET_BODY: ((0, S.GET_RECEIPT), (1, S.GET_VALIDITY)),
    S.PUT_BODY: ((0, S.ANSWER_PLUS), (1, S.PUT_VALIDITY)),
    S.CONNECTED: ((0, S.CONNECTED),),
}

AFTER_BAD_LINE: dict[State, tuple[str, State]] = {
    # A line from the client that it should not have sent: what the server's ERROR says, and where that leaves both.
    # Unknown verbs and fields that do not parse say "unknown command" instead, in the states that say "unexpected".
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
"""The states in which the client may begin a request."""

ANY_VERSION = BETWEEN_REQUESTS | {S.TIMESTAMP_ANSWER}
"""The states in which messages of a later version than the negotiated one are taken, and answered, as git-annex does:
a request explains itself. Within a request they are not."""

BODIES = frozenset({S.GET_BODY, S.PUT_BODY})
"""The half duplex states in which bytes move, and no messages."""


def opening_state(*, authenticated: bool) -> State:
    """Where a conversation begins: over a pre-authenticated pipe the server speaks first (section 4)."""
    return S.GREETING if authenticated else S.AUTHENTICATION


def after_body(state: State, version: int) -> State:
    """The state after the last byte of a body that began in `state`."""
    return [follows for since, follows in AFTER_BODY[state] if since <= version][-1]


class Conversation:
    """One conversation's state and version, seen from one side. It holds messages to the table; it knows no bytes.

    `sending` and `receiving` check a message and move the state. A body's bytes are counted with `body_sent` and
    `body_received`; when none are left the state moves on.
    """

    __slots__ = ("_bad_line", "_offered", "_other", "incoming", "outgoing", "side", "state", "version")

    def __init__(self, side: Side, state: State) -> None:
        self.side = side
        self.state = state
        self.version = 0
        """The negotiated protocol version; 0 until VERSION was answered."""
        self.incoming = 0
        """Bytes of the far side's body that are still to come."""
        self.outgoing = 0
        """Bytes of our body that are still to be sent."""
        self._offered = m.LATEST_VERSION
        self._other = side.other
        self._bad_line = False

    @property
    def our_turn(self) -> bool:
        """True where we may send a message or, in a body of ours, bytes."""
        return self.side in TABLE[self.state]

    @property
    def their_turn(self) -> bool:
        """True where the next line, or the next bytes of a body, are the far side's."""
        return self._other in TABLE[self.state]

    def allowed(self, side: Side) -> Rules:
        """What `side` may say now, at the negotiated version, with the states that follow."""
        rules = TABLE[self.state].get(side, {})
        return {message: state for message, state in rules.items() if message.since <= self.version}

    def sending(self, message: m.Message) -> None:
        """We are about to send `message`: moves the state, or raises LocalProtocolError and moves nothing."""
        cls = type(message)
        rules = TABLE[self.state].get(self.side)
        if cls is m.Error and self._bad_line and self.state in AFTER_BAD_LINE and (rules is None or cls not in rules):
            # The answer to a client's bad line: the only message that may be sent out of turn.
            self._bad_line = False
            self.state = AFTER_BAD_LINE[self.state][1]
            return
        if self.outgoing:
            raise LocalProtocolError(f"{message.verb.decode()} in the middle of a body: {self.outgoing} bytes are owed")
        following = rules.get(cls) if rules is not None else None
        if following is None:
            verb = message.verb.decode()
            raise LocalProtocolError(f"{self.side.value} may not send {verb} in state {self.state.value}")
        if cls.since > self.version and not (self.side is SERVER and self.state in ANY_VERSION):
            raise LocalProtocolError(f"{message.verb.decode()} needs version {cls.since}, this is {self.version}")
        if not self._was_offered(self.side, message):
            raise LocalProtocolError(f"{message} was not offered")
        self._follow(self.side, message, following)

    def receiving(self, message: m.Message) -> None:
        """The far side sent `message`: moves the state, or raises RemoteProtocolError and moves nothing."""
        cls = type(message)
        rules = TABLE[self.state].get(self._other)
        following = rules.get(cls) if rules is not None and not self.incoming else None
        if following is None or (cls.since > self.version and self.state not in ANY_VERSION):
            raise self.bad_line(f"unexpected {message.verb.decode()} in state {self.state.value}", unknown=False)
        if not self._was_offered(self._other, message):
            raise self.bad_line(f"{message} was not offered", unknown=False)
        self._bad_line = False
        self._follow(self._other, message, following)

    def _was_offered(self, speaker: Side, message: m.Message) -> bool:
        """Whether a server's VERSION, if `message` is one, is one that the client asked for."""
        return (
            type(message) is not m.Version
            or speaker is CLIENT
            or message.version <= min(self._offered, m.LATEST_VERSION)
        )

    def _follow(self, speaker: Side, message: m.Message, following: State) -> None:
        """Move on: `message` is allowed."""
        if type(message) is m.Version:
            if speaker is CLIENT:
                self._offered = message.version
            else:
                self.version = message.version
        elif type(message) is m.Data:
            if speaker is self.side:
                self.outgoing = message.length
            else:
                self.incoming = message.length
            if not message.length:
                following = after_body(following, self.version)
        self.state = following

    def bad_line(self, problem: str, *, unknown: bool) -> RemoteProtocolError:
        """The error for a line that breaks the law, with what a server answers to it (section 3)."""
        if self.side is CLIENT:
            # A client cannot tell what such a server means by its next line: the connection can only end.
            return RemoteProtocolError(problem, reply=None, fatal=True)
        self._bad_line = self.state in AFTER_BAD_LINE
        text, _ = AFTER_BAD_LINE.get(self.state, ("unexpected command", self.state))
        if unknown and text == "unexpected command":
            text = "unknown command"
        return RemoteProtocolError(problem, reply=text)

    def body_sent(self, count: int) -> None:
        """`count` bytes of our body were sent."""
        if not 0 <= count <= self.outgoing:
            raise LocalProtocolError(f"{count} bytes sent, {self.outgoing} were owed")
        self.outgoing -= count
        if count and not self.outgoing:
            self._body_ended()

    def body_received(self, count: int) -> None:
        """`count` bytes of the far side's body were received."""
        if not 0 <= count <= self.incoming:
            raise LocalProtocolError(f"{count} bytes received, {self.incoming} were to come")
        self.incoming -= count
        if count and not self.incoming:
            self._body_ended()

    def _body_ended(self) -> None:
        if self.state is not ENDED:  # CONNECT can end while a body is on its way
            self.state = after_body(self.state, self.version)
