"""protocol-spec sections 2 and 3, over bytes: lines in any pieces, bodies between them, and what is no line at all."""

# ruff: noqa: PT012, PT017 - what is asserted is when an error comes in a conversation, and what it says there

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pannex.keys.key import Key
from p2pannex.protocol import (
    CLOSED,
    LATEST_VERSION,
    MAX_LINE,
    MESSAGES,
    NEED_DATA,
    PAUSED,
    TABLE,
    Connection,
    LocalProtocolError,
    Message,
    RemoteProtocolError,
    Side,
    State,
    Wait,
)
from p2pannex.protocol import messages as m
from p2pannex.testing.pair import ConnectionPair
from tests.support.keys import HELLO_KEY as K

OTHER = Key(b"WORM-s3--a b")
CLIENT, SERVER = Side.CLIENT, Side.SERVER


def server(*lines: bytes, version: int = LATEST_VERSION, state: State = State.IDLE) -> Connection:
    """A server's connection in that state, that has received those lines."""
    connection = Connection(SERVER, state=state)
    connection.version = version
    for line in lines:
        connection.receive_data(line)
    return connection


# Walks through the table -------------------------------------------------------------------------------------------

SAMPLES: dict[type[Message], st.SearchStrategy[Message]] = {
    m.Get: st.builds(
        m.Get, st.integers(0, 10**6), st.sampled_from([None, b"a b", b"a%b"]), st.sampled_from([K, OTHER])
    ),
    m.Put: st.builds(m.Put, st.sampled_from([None, b"a b"]), st.sampled_from([K, OTHER])),
    m.UnlockContent: st.builds(m.UnlockContent, st.sampled_from([None, K])),
}
FIELDS: dict[str, object] = {
    "uuid": "u",
    "token": "t",
    "service": "git-upload-pack",
    "exit_code": 1,
    "refs": ("r", "s"),
    "key": K,
    "timestamp": 5,
    "seconds": 6,
    "offset": 0,
    "uuids": ("u", "v"),
    "message": "it failed",
    "file": None,
}


def message_of(cls: type[Message], pair: ConnectionPair, draw: st.DataObject) -> Message:
    if cls is m.Data:
        return m.Data(draw.draw(st.sampled_from([0, 1, 5, 300, 70_000]), "body"))
    if cls is m.Version:
        highest = LATEST_VERSION if pair.state is not State.VERSION_ANSWER else pair.client._offered
        return m.Version(draw.draw(st.integers(0, highest), "version"))
    if cls in SAMPLES:
        return draw.draw(SAMPLES[cls], "message")
    return cls(*(FIELDS[name] for name in cls.names))


@settings(max_examples=150, deadline=None)
@given(st.data(), st.booleans())
def test_both_ends_agree_whatever_is_said(draw: st.DataObject, authenticated: bool) -> None:
    """Random walks through the table; `ConnectionPair` asserts at every step that both ends are in the same state."""
    pair = ConnectionPair(
        authenticated=authenticated, piece=lambda: draw.draw(st.sampled_from([1, 2, 7, 100, 100_000]), "piece")
    )
    for _ in range(draw.draw(st.integers(1, 25), "steps")):
        if pair.state is State.ENDED:
            break
        said = [
            (side, cls)
            for side in TABLE[pair.state]
            for cls in sorted(pair.end(side).allowed(side), key=lambda cls: cls.verb)
            if cls is not m.Error or not draw.draw(st.integers(0, 5), "error")
        ]
        if not said:
            continue
        side, cls = draw.draw(st.sampled_from(said), "said")
        message = message_of(cls, pair, draw)
        body = bytes(range(256)) * (message.length // 256 + 1) if isinstance(message, m.Data) else b""
        pair.say(side, message, body[: message.length] if isinstance(message, m.Data) else b"")


# Any pieces of the bytes give the same events ----------------------------------------------------------------------

CONVERSATION: list[tuple[Side, Message | bytes]] = [
    (SERVER, m.AuthSuccess("u")),
    (CLIENT, m.Version(4)),
    (SERVER, m.Version(4)),
    (CLIENT, m.CheckPresent(K)),
    (SERVER, m.Success()),
    (CLIENT, m.Get(0, None, K)),
    (SERVER, m.Data(11)),
    (SERVER, b"hello\nworld"),
    (SERVER, m.Valid()),
    (CLIENT, m.Success()),
    (CLIENT, m.Put(None, OTHER)),
    (SERVER, m.PutFrom(0)),
    (CLIENT, m.Data(8)),
    (CLIENT, b"VALID\n\r\n"),
    (CLIENT, m.Valid()),
    (SERVER, m.Failure()),
    (CLIENT, m.LockContent(K)),
    (SERVER, m.Success()),
    (CLIENT, m.UnlockContent()),
    (CLIENT, m.GetTimestamp()),
    (SERVER, m.Timestamp(5)),
]


def play(connection: Connection, pieces: list[bytes]) -> list[Message | bytes]:
    """What `connection` hands out when the other side's bytes come in those pieces, as early as they like."""
    events: list[Message | bytes] = []
    said = iter(item for side, item in CONVERSATION if side is connection.side)
    waiting = list(pieces)
    body = b""
    while True:
        if connection.incoming:
            body += connection.take_body(3)
            if not connection.incoming:
                events.append(body)
                body = b""
                continue
            if connection.buffered:
                continue
        event = connection.next_event()
        if isinstance(event, Message):
            events.append(event)
        elif event is PAUSED and not connection.incoming:
            ours = next(said, None)
            if ours is None:
                return events
            if isinstance(ours, bytes):
                connection.body_sent(len(ours))
            else:
                connection.send(ours)
        elif waiting:
            connection.receive_data(waiting.pop(0))
        else:
            return events


def expected(side: Side) -> list[Message | bytes]:
    return [item for speaker, item in CONVERSATION if speaker is side.other]


def wire(side: Side) -> bytes:
    return b"".join(item if isinstance(item, bytes) else item.format() for item in expected(side))


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 10, 1000])
def test_pieces_of_any_size(side: Side, size: int) -> None:
    data = wire(side)
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert play(Connection(side), pieces) == expected(side)


@given(st.sampled_from(Side), st.lists(st.integers(0, 400)))
def test_any_pieces(side: Side, cuts: list[int]) -> None:
    data = wire(side)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    assert play(Connection(side), [data[a:b] for a, b in itertools.pairwise(edges)]) == expected(side)


# Garbage -----------------------------------------------------------------------------------------------------------


def drain(connection: Connection) -> None:
    """A server that answers whatever comes, in the simplest way: only RemoteProtocolError may come of it."""
    for _ in range(10_000):
        if connection.incoming and connection.buffered:
            connection.take_body()
            continue
        try:
            event = connection.next_event()
        except RemoteProtocolError as error:
            if error.reply is not None and connection.state is not State.CONNECTED:
                before = connection.state
                connection.send(m.Error(error.reply))
                assert error.fatal or connection.state in (State.IDLE, before)
            continue
        if event is CLOSED or event is NEED_DATA or connection.incoming:
            return
        if event is PAUSED:
            choices = connection.allowed(SERVER)
            if not choices:
                connection.body_sent(connection.outgoing)
                continue
            cls = sorted(choices, key=lambda cls: (cls is m.Error, cls.verb))[0]
            if cls is m.Data:
                connection.send(m.Data(5))
            elif cls is m.Version:
                connection.send(m.Version(min(connection._offered, LATEST_VERSION)))
            else:
                connection.send(cls(*(FIELDS[name] for name in cls.names)))
    raise AssertionError("it goes on for ever")


junk = st.binary(max_size=200) | st.lists(
    st.builds(
        lambda verb, rest, end: verb + rest + end,
        st.sampled_from([*sorted(MESSAGES), b"FOO", b""]),
        st.sampled_from([b"", b" ", b" 5", b"  " + K.raw, b" 0  " + K.raw, b" " + K.raw, b" u", b" u t", b" \xff\0"]),
        st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\nhello"]),
    ),
    max_size=20,
).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(junk, st.sampled_from([s for s in State if TABLE[s].get(CLIENT)]), st.integers(0, LATEST_VERSION), st.booleans())
def test_garbage_gives_protocol_errors_and_nothing_else(data: bytes, state: State, version: int, eof: bool) -> None:
    connection = server(version=version, state=state)
    if data:
        connection.receive_data(data)
    if eof:
        connection.receive_data(b"")
    drain(connection)


@settings(max_examples=200, deadline=None)
@given(junk, st.sampled_from([s for s in State if TABLE[s].get(SERVER)]), st.integers(0, LATEST_VERSION))
def test_a_client_gives_up_at_garbage(data: bytes, state: State, version: int) -> None:
    connection = Connection(CLIENT, state=state)
    connection.version = version
    connection.receive_data(data + b"\n")
    try:
        while isinstance(connection.next_event(), Message):
            connection.take_body()
    except RemoteProtocolError as error:
        assert error.fatal
        assert error.reply is None
        assert connection.ended
        assert connection.next_event() is CLOSED


@given(junk)
def test_a_server_recovers_between_lines(data: bytes) -> None:
    """In IDLE, whatever lines that are no requests came before, the next request is answered."""
    lines = b"".join(line + b"\n" for line in data.split(b"\n") if line.split(b" ")[0].strip() not in MESSAGES)
    connection = server(lines + m.CheckPresent(K).format())
    while True:
        try:
            event = connection.next_event()
        except RemoteProtocolError as error:
            assert error.reply == "unknown command"
            connection.send(m.Error(error.reply))
            continue
        assert event == m.CheckPresent(K)
        return


# 2.1: limits -------------------------------------------------------------------------------------------------------


def long_line(length: int) -> bytes:
    return b"CHECKPRESENT WORM--".ljust(length - 1, b"x") + b"\n"


def test_the_longest_line() -> None:
    connection = server(long_line(MAX_LINE))
    assert isinstance(connection.next_event(), m.CheckPresent)


@pytest.mark.parametrize("data", [long_line(MAX_LINE + 1), long_line(100_000), b"x" * MAX_LINE, b"\0" * 100_000])
@pytest.mark.parametrize("piece", [1000, 1_000_000])
def test_a_line_that_is_too_long_ends_it(data: bytes, piece: int) -> None:
    connection = server()
    with pytest.raises(RemoteProtocolError) as caught:
        for start in range(0, len(data), piece):
            connection.receive_data(data[start : start + piece])
            assert connection.next_event() is NEED_DATA
    assert caught.value.fatal
    assert caught.value.reply == "line too long"
    assert connection.send(m.Error("line too long")) == b"ERROR line too long\n"
    assert connection.ended
    assert connection.next_event() is CLOSED


def test_a_client_does_not_answer_a_line_that_is_too_long() -> None:
    connection = Connection(CLIENT)
    connection.receive_data(b"x" * MAX_LINE)
    with pytest.raises(RemoteProtocolError) as caught:
        connection.next_event()
    assert caught.value.fatal
    assert caught.value.reply is None


def test_long_bodies_are_no_lines() -> None:
    connection = server(b"DATA 100000\n", b"x" * 100_000, b"VALID\n", state=State.PUT_DATA)
    assert connection.next_event() == m.Data(100_000)
    assert connection.next_event() is PAUSED
    assert connection.take_body() == b"x" * 100_000
    assert connection.next_event() == m.Valid()


def test_cr_before_lf_is_dropped() -> None:
    connection = server(b"CHECKPRESENT " + K.raw + b"\r\n")
    assert connection.next_event() == m.CheckPresent(K)


def test_unlockcontent_with_a_key() -> None:
    connection = server(b"UNLOCKCONTENT " + K.raw + b"\n", state=State.LOCKED)
    assert connection.next_event() == m.UnlockContent(K)
    assert connection.state is State.IDLE


# 3: errors ---------------------------------------------------------------------------------------------------------

BAD_LINES = [  # where, what comes, what it is answered with, where that leaves both
    (State.IDLE, b"FOO", "unknown command", State.IDLE),
    (State.IDLE, b"", "unknown command", State.IDLE),
    (State.IDLE, b"CHECKPRESENT foo", "unknown command", State.IDLE),
    (State.IDLE, b"GET 0 /abs " + K.raw, "unknown command", State.IDLE),
    (State.IDLE, b"CONNECT git-upload-archive", "unknown command", State.IDLE),
    (State.IDLE, b"SUCCESS", "unexpected command", State.IDLE),
    (State.IDLE, b"DATA 5", "unexpected command", State.IDLE),
    (State.IDLE, b"UNLOCKCONTENT", "unexpected command", State.IDLE),
    (State.IDLE, b"AUTH u t", "unexpected command", State.IDLE),
    (State.PUT_DATA, b"FOO", "expected DATA", State.IDLE),
    (State.PUT_DATA, b"", "expected DATA", State.IDLE),
    (State.PUT_DATA, b"DATA x", "expected DATA", State.IDLE),
    (State.PUT_DATA, b"VERSION 4", "expected DATA", State.IDLE),
    (State.PUT_DATA, b"DATA-PRESENT x", "expected DATA", State.IDLE),
    (State.PUT_VALIDITY, b"FOO", "expected VALID or INVALID", State.IDLE),
    (State.PUT_VALIDITY, b"CHECKPRESENT " + K.raw, "expected VALID or INVALID", State.IDLE),
    (State.PUT_VALIDITY, b"VALID x", "expected VALID or INVALID", State.IDLE),
    (State.GET_RECEIPT, b"FOO", "expected SUCCESS or FAILURE", State.IDLE),
    (State.GET_RECEIPT, b"VALID", "expected SUCCESS or FAILURE", State.IDLE),
    (State.LOCKED, b"FOO", "expected UNLOCKCONTENT", State.IDLE),
    (State.LOCKED, b"CHECKPRESENT " + K.raw, "expected UNLOCKCONTENT", State.IDLE),
    (State.LOCKED, b"UNLOCKCONTENT foo", "expected UNLOCKCONTENT", State.IDLE),
    (State.CONNECTED, b"FOO", "expected DATA", State.ENDED),
    (State.AUTHENTICATION, b"FOO", "unknown command", State.AUTHENTICATION),
    (State.AUTHENTICATION, b"CHECKPRESENT " + K.raw, "unexpected command", State.AUTHENTICATION),
]


@pytest.mark.parametrize(("state", "line", "reply", "after"), BAD_LINES)
def test_bad_lines(state: State, line: bytes, reply: str, after: State) -> None:
    connection = server(line + b"\n", state=state)
    with pytest.raises(RemoteProtocolError) as caught:
        connection.next_event()
    assert caught.value.reply == reply
    assert not caught.value.fatal
    assert connection.state is state, "nothing moves before it is answered"
    assert connection.send(m.Error(reply)) == b"ERROR " + reply.encode() + b"\n"
    assert connection.state is after


@pytest.mark.parametrize("version", range(LATEST_VERSION))
def test_data_present_before_version_4(version: int) -> None:
    connection = server(b"DATA-PRESENT\n", version=version, state=State.PUT_DATA)
    with pytest.raises(RemoteProtocolError) as caught:
        connection.next_event()
    assert caught.value.reply == "expected DATA"


# The state moves as events are handed out, never ahead of them -----------------------------------------------------


def test_requests_that_come_early_wait_for_their_turn() -> None:
    connection = server(
        m.CheckPresent(K).format() + m.GetTimestamp().format() + b"FOO\n" + m.CheckPresent(OTHER).format()
    )
    assert connection.next_event() == m.CheckPresent(K)
    for _ in range(3):
        assert connection.next_event() is PAUSED
    connection.send(m.Success())
    assert connection.next_event() == m.GetTimestamp()
    assert connection.next_event() is PAUSED
    connection.send(m.Timestamp(1))
    with pytest.raises(RemoteProtocolError):
        connection.next_event()
    connection.send(m.Error("unknown command"))
    assert connection.next_event() == m.CheckPresent(OTHER)


def test_a_body_does_not_run_into_the_next_line() -> None:
    connection = server(b"DATA 5\nVALIDVALID\nSUCCESS\n", state=State.PUT_DATA)
    assert connection.next_event() == m.Data(5)
    assert connection.next_event() is PAUSED
    assert connection.take_body(2) == b"VA"
    assert connection.next_event() is PAUSED
    assert connection.take_body() == b"LID"
    assert connection.take_body() == b""
    assert connection.next_event() == m.Valid()
    assert connection.next_event() is PAUSED


def test_bytes_that_were_read_elsewhere_are_counted() -> None:
    connection = server(b"DATA 10\nabc", state=State.PUT_DATA)
    assert connection.next_event() == m.Data(10)
    assert connection.take_body(100) == b"abc"
    assert connection.take_body(100) == b""
    connection.body_received(6)
    assert connection.incoming == 1
    with pytest.raises(LocalProtocolError):
        connection.body_received(2)
    connection.body_received(1)
    assert connection.next_event() is NEED_DATA
    assert connection.state is State.PUT_VALIDITY


def test_nothing_moves_where_sending_is_not_allowed() -> None:
    connection = Connection(CLIENT, state=State.IDLE)
    for message in (m.Success(), m.Data(5), m.GetTimestamp(), m.CheckPresent(Key(b"WORM--x\r")), m.Connect("sh")):
        with pytest.raises(LocalProtocolError):
            connection.send(message)
        assert connection.state is State.IDLE
        assert connection.outgoing == 0


# The end -----------------------------------------------------------------------------------------------------------


def waits(connection: Connection) -> list[Message | Wait]:
    return [connection.next_event() for _ in range(2)]


def test_the_end_between_lines() -> None:
    connection = server(b"", state=State.IDLE)
    assert waits(connection) == [CLOSED, CLOSED]
    with pytest.raises(LocalProtocolError):
        connection.receive_data(b"more")


def test_what_came_before_the_end_is_handed_out() -> None:
    connection = server(m.CheckPresent(K).format() + m.CheckPresent(OTHER).format(), b"")
    assert connection.next_event() == m.CheckPresent(K)
    assert connection.next_event() is PAUSED
    connection.send(m.Success())
    assert connection.next_event() == m.CheckPresent(OTHER)
    connection.send(m.Success())
    assert connection.next_event() is CLOSED


@pytest.mark.parametrize("line", [b"CHECKPRESENT", b"\r", b"VERSION 4", b"ERROR x"])
def test_the_end_in_the_middle_of_a_line(line: bytes) -> None:
    connection = server(line, b"")
    with pytest.raises(RemoteProtocolError) as caught:
        connection.next_event()
    assert caught.value.fatal
    assert caught.value.reply is None
    assert connection.ended
    assert connection.next_event() is CLOSED


def test_the_end_in_the_middle_of_a_body() -> None:
    connection = server(b"DATA 10\nabc", b"", state=State.PUT_DATA)
    assert connection.next_event() == m.Data(10)
    assert connection.take_body() == b"abc"
    assert connection.next_event() is CLOSED
    assert connection.incoming == 7


@pytest.mark.parametrize(("state", "last"), [(State.IDLE, m.Error("no")), (State.LOCKED, m.Error("no"))])
def test_nothing_follows_the_end_of_the_conversation(state: State, last: Message) -> None:
    connection = server(last.format() + m.CheckPresent(K).format(), state=state)
    assert connection.next_event() == last
    assert connection.ended
    assert waits(connection) == [CLOSED, CLOSED]
    with pytest.raises(LocalProtocolError):
        connection.send(m.Success())


def test_connectdone_ends_it() -> None:
    pair = ConnectionPair()
    pair.open()
    pair.say(CLIENT, m.Connect("git-upload-pack"))
    pair.say(SERVER, m.Data(3), b"abc")
    pair.say(CLIENT, m.Data(0))
    pair.say(SERVER, m.ConnectDone(1))
    assert pair.client.ended
    assert pair.server.ended


# Opening -----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 99), st.integers(0, LATEST_VERSION))
def test_the_version_is_the_lower_one(offered: int, ours: int) -> None:
    pair = ConnectionPair()
    pair.say(SERVER, m.AuthSuccess("u"))
    pair.say(CLIENT, m.Version(offered))
    pair.say(SERVER, m.Version(min(offered, ours)))
    assert pair.client.version == pair.server.version == min(offered, ours)


def test_a_server_that_knows_no_versions_speaks_version_0() -> None:
    pair = ConnectionPair()
    pair.say(SERVER, m.AuthSuccess("u"))
    pair.say(CLIENT, m.Version(4))
    pair.say(SERVER, m.Error("unknown command"))
    assert pair.client.version == pair.server.version == 0
    pair.say(CLIENT, m.Get(0, None, K))
    pair.say(SERVER, m.Data(0))
    assert pair.state is State.GET_RECEIPT


def test_the_first_message_may_be_a_request() -> None:
    pair = ConnectionPair()
    pair.open(version=0)
    pair.say(CLIENT, m.CheckPresent(K))
    assert pair.state is State.ANSWER
