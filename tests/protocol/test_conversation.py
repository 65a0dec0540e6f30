"""The table of protocol-spec sections 4 to 11: every message, in every state, from both sides, at every version."""

# ruff: noqa: PT017 - an error is one of two outcomes of each case here, and both are looked at

from __future__ import annotations

import itertools

import pytest

from p2pannex.protocol import messages as m
from p2pannex.protocol.conversation import (
    AFTER_BAD_LINE,
    AFTER_BODY,
    ANY_VERSION,
    BETWEEN_REQUESTS,
    BODIES,
    TABLE,
    Conversation,
    Side,
    State,
    after_body,
    opening_state,
)
from p2pannex.protocol.errors import LocalProtocolError, RemoteProtocolError
from tests.support.keys import HELLO_KEY as K

CLIENT, SERVER = Side.CLIENT, Side.SERVER
VERSIONS = range(m.LATEST_VERSION + 1)

WITH_FIELDS: list[m.Message] = [
    m.Auth("u", "t"),
    m.AuthSuccess("u"),
    m.Version(1),
    m.Bypass(("u",)),
    m.Connect("git-upload-pack"),
    m.ConnectDone(0),
    m.Changed(("r",)),
    m.CheckPresent(K),
    m.LockContent(K),
    m.UnlockContent(),
    m.Remove(K),
    m.RemoveBefore(5, K),
    m.Timestamp(5),
    m.Get(0, None, K),
    m.Put(None, K),
    m.PutFrom(0),
    m.AlreadyHavePlusReply(("u",)),
    m.Data(7),
    m.SuccessPlus(("u",)),
    m.FailurePlus(("u",)),
    m.Error("no"),
]
EVERY = {**{cls: cls() for cls in m.MESSAGES.values() if not cls.codecs}, **{type(m): m for m in WITH_FIELDS}}
"""A message of every class."""

assert set(EVERY) == set(m.MESSAGES.values())

CASES = list(itertools.product(State, EVERY, Side, VERSIONS))


def conversation(side: Side, state: State, version: int) -> Conversation:
    """One end in that state, owing or owed a body where the state is one of a body."""
    end = Conversation(side, state)
    end.version = version
    if state in BODIES:
        (sender,) = TABLE[state]
        end.incoming, end.outgoing = (0, 5) if side is sender else (5, 0)
    return end


def snapshot(end: Conversation) -> tuple[object, ...]:
    return end.state, end.version, end.incoming, end.outgoing


def rule(state: State, cls: type[m.Message], speaker: Side, version: int) -> State | None:
    """The next state according to the table, read without the code under test. None: not allowed."""
    following = TABLE[state].get(speaker, {}).get(cls)
    if following is None or (cls.since > version and state not in ANY_VERSION):
        return None
    return after_body(following, version) if cls is m.Data and not EVERY[cls].length else following  # type: ignore[attr-defined]


def test_totality_of_sending() -> None:
    for state, cls, side, version in CASES:
        end = conversation(side, state, version)
        before = snapshot(end)
        expected = rule(state, cls, side, version)
        if side is CLIENT and cls.since > version:
            expected = None  # a client sends no request that is newer than the agreed version
        try:
            end.sending(EVERY[cls])
        except LocalProtocolError:
            assert expected is None, (state, cls, side, version)
            assert snapshot(end) == before, (state, cls, side, version)
        else:
            assert end.state is expected, (state, cls, side, version)
            assert end.outgoing == (7 if cls is m.Data else 0)


def test_totality_of_receiving() -> None:
    for state, cls, side, version in CASES:
        end = conversation(side, state, version)
        before = snapshot(end)
        expected = rule(state, cls, side.other, version)
        try:
            end.receiving(EVERY[cls])
        except RemoteProtocolError as error:
            assert expected is None, (state, cls, side, version)
            assert snapshot(end) == before, (state, cls, side, version)
            assert error.fatal is (side is CLIENT)
            assert (error.reply is None) is (side is CLIENT)
        else:
            assert end.state is expected, (state, cls, side, version)
            assert end.incoming == (7 if cls is m.Data else 0)


def test_what_may_be_sent_is_taken() -> None:
    """What one end may send, the other accepts, and both are then in the same state."""
    for state, cls, side, version in CASES:
        sender, receiver = conversation(side, state, version), conversation(side.other, state, version)
        try:
            sender.sending(EVERY[cls])
        except LocalProtocolError:
            continue
        receiver.receiving(EVERY[cls])
        assert sender.state is receiver.state, (state, cls, side, version)
        assert sender.outgoing == receiver.incoming
        if cls is m.Data:
            sender.body_sent(7)
            receiver.body_received(7)
            assert sender.state is receiver.state is after_body(TABLE[state][side][m.Data], version)


def test_allowed_says_what_sending_does() -> None:
    for state, cls, side, version in CASES:
        if state in ANY_VERSION or state in BODIES:
            continue
        end = conversation(side, state, version)
        allowed = cls in end.allowed(side)
        try:
            end.sending(EVERY[cls])
        except LocalProtocolError:
            assert not allowed, (state, cls, side, version)
        else:
            assert allowed, (state, cls, side, version)


# The table itself --------------------------------------------------------------------------------------------------


def test_it_is_one_sides_turn_except_in_connect() -> None:
    for state, sides in TABLE.items():
        expected = {State.ENDED: 0, State.CONNECTED: 2}.get(state, 1)
        assert len(sides) == expected, state
    assert set(TABLE) == set(State)


def test_every_state_can_be_reached_and_left() -> None:
    reached = {opening_state(authenticated=True), opening_state(authenticated=False)}
    while True:
        more = {following for state in reached for rules in TABLE[state].values() for following in rules.values()}
        more |= {after_body(state, version) for state in reached & set(AFTER_BODY) for version in VERSIONS}
        if more <= reached:
            break
        reached |= more
    assert reached == set(State)
    for state in set(State) - {State.ENDED} - BODIES:
        assert any(TABLE[state].values()), f"nothing leads out of {state}"


def test_a_server_can_always_say_that_it_failed() -> None:
    """Wherever the server is to speak, and no body is under way, ERROR is among what it may say."""
    for state in set(State) - BODIES:
        assert all(m.Error in rules for rules in TABLE[state].values()), state


def test_every_bad_line_of_a_client_has_an_answer() -> None:
    clients_turn = {state for state, sides in TABLE.items() if CLIENT in sides} - BODIES
    assert set(AFTER_BAD_LINE) == clients_turn


# 3: bad lines, and what a server answers ---------------------------------------------------------------------------

ANSWERS = {  # to a message out of place, to a line that is none
    State.AUTHENTICATION: ("unexpected command", "unknown command"),
    State.IDLE: ("unexpected command", "unknown command"),
    State.PUT_REFUSED: ("unexpected command", "unknown command"),
    State.PUT_DATA: ("expected DATA", "expected DATA"),
    State.PUT_VALIDITY: ("expected VALID or INVALID", "expected VALID or INVALID"),
    State.GET_RECEIPT: ("expected SUCCESS or FAILURE", "expected SUCCESS or FAILURE"),
    State.LOCKED: ("expected UNLOCKCONTENT", "expected UNLOCKCONTENT"),
    State.CONNECTED: ("expected DATA", "expected DATA"),
}


@pytest.mark.parametrize("state", ANSWERS, ids=lambda state: state.name)
def test_a_bad_line_is_answered_once_and_the_conversation_goes_on(state: State) -> None:
    unexpected, unknown = ANSWERS[state]
    assert Conversation(SERVER, state).bad_line("?", unknown=True).reply == unknown
    end = Conversation(SERVER, state)
    with pytest.raises(RemoteProtocolError) as caught:
        end.receiving(m.AuthSuccess("u"))
    assert caught.value.reply == unexpected
    assert not caught.value.fatal
    assert end.state is state
    end.sending(m.Error(unexpected))
    assert end.state is AFTER_BAD_LINE[state][1]
    with pytest.raises(LocalProtocolError):
        end.sending(m.Error(unexpected))


@pytest.mark.parametrize("state", [s for s in AFTER_BAD_LINE if s is not State.CONNECTED], ids=lambda state: state.name)
def test_a_server_says_error_out_of_turn_only_to_a_bad_line(state: State) -> None:
    with pytest.raises(LocalProtocolError):
        Conversation(SERVER, state).sending(m.Error("just so"))
    end = conversation(SERVER, state, m.LATEST_VERSION)
    end.bad_line("?", unknown=True)
    good = next(cls for cls in end.allowed(CLIENT) if cls is not m.Error)
    end.receiving(EVERY[good])
    if CLIENT in TABLE[end.state]:
        with pytest.raises(LocalProtocolError):
            end.sending(m.Error("too late"))


def test_a_bad_line_before_connect_ends_is_not_answered_after() -> None:
    end = Conversation(SERVER, State.CONNECTED)
    end.bad_line("?", unknown=True)
    end.sending(m.ConnectDone(0))
    with pytest.raises(LocalProtocolError):
        end.sending(m.Error("expected DATA"))


# 4: versions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offered", [0, 1, 2, 3, 4, 5, 99])
@pytest.mark.parametrize("answered", [0, 1, 2, 3, 4, 5, 99])
def test_version_negotiation(offered: int, answered: int) -> None:
    client, server = Conversation(CLIENT, State.IDLE), Conversation(SERVER, State.IDLE)
    client.sending(m.Version(offered))
    server.receiving(m.Version(offered))
    assert client.version == server.version == 0, "nothing is agreed on before the answer"
    if answered > min(offered, m.LATEST_VERSION):
        with pytest.raises(LocalProtocolError):
            server.sending(m.Version(answered))
        with pytest.raises(RemoteProtocolError):
            client.receiving(m.Version(answered))
        assert client.version == server.version == 0
    else:
        server.sending(m.Version(answered))
        client.receiving(m.Version(answered))
        assert client.version == server.version == answered
        assert client.state is server.state is State.IDLE


def test_a_version_that_is_refused_changes_nothing() -> None:
    client, server = Conversation(CLIENT, State.IDLE), Conversation(SERVER, State.IDLE)
    for sender, receiver, message in (
        (client, server, m.Version(3)),
        (server, client, m.Version(3)),
        (client, server, m.Version(4)),
        (server, client, m.Error("no")),
    ):
        sender.sending(message)
        receiver.receiving(message)
    assert client.version == server.version == 3
    assert client.state is server.state is State.IDLE


# Bodies: what is owed is counted -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_bodies_are_counted(version: int) -> None:
    sender, receiver = conversation(SERVER, State.GET_DATA, version), conversation(CLIENT, State.GET_DATA, version)
    sender.sending(m.Data(10))
    receiver.receiving(m.Data(10))
    for count in (0, 3, 0, 6):
        sender.body_sent(count)
        receiver.body_received(count)
        assert sender.state is receiver.state is State.GET_BODY
    for count in (-1, 2, 100):
        with pytest.raises(LocalProtocolError):
            sender.body_sent(count)
        with pytest.raises(LocalProtocolError):
            receiver.body_received(count)
    assert (sender.outgoing, receiver.incoming) == (1, 1)
    with pytest.raises(LocalProtocolError):
        sender.sending(m.Valid())
    sender.body_sent(1)
    receiver.body_received(1)
    expected = State.GET_VALIDITY if version else State.GET_RECEIPT
    assert sender.state is receiver.state is expected
    with pytest.raises(LocalProtocolError):
        sender.body_sent(1)


def test_nothing_is_owed_where_no_body_was_announced() -> None:
    for state, side in itertools.product(set(State) - BODIES, Side):
        end = Conversation(side, state)
        with pytest.raises(LocalProtocolError):
            end.body_sent(1)
        with pytest.raises(LocalProtocolError):
            end.body_received(1)
        end.body_sent(0)
        end.body_received(0)
        assert end.state is state


@pytest.mark.parametrize("version", VERSIONS)
def test_an_empty_body_is_over_at_once(version: int) -> None:
    end = conversation(SERVER, State.GET_DATA, version)
    end.sending(m.Data(0))
    assert end.state is (State.GET_VALIDITY if version else State.GET_RECEIPT)


def test_connect_may_end_while_a_body_is_under_way() -> None:
    client, server = Conversation(CLIENT, State.CONNECTED), Conversation(SERVER, State.CONNECTED)
    client.sending(m.Data(10))
    server.receiving(m.Data(10))
    server.sending(m.ConnectDone(3))
    client.receiving(m.ConnectDone(3))
    client.body_sent(10)
    server.body_received(10)
    assert client.state is server.state is State.ENDED


def test_connect_is_full_duplex() -> None:
    client, server = Conversation(CLIENT, State.CONNECTED), Conversation(SERVER, State.CONNECTED)
    client.sending(m.Data(10))
    server.sending(m.Data(20))
    client.receiving(m.Data(20))
    server.receiving(m.Data(10))
    with pytest.raises(RemoteProtocolError):
        client.receiving(m.Data(1))
    with pytest.raises(LocalProtocolError):
        client.sending(m.Data(1))
    client.body_sent(10)
    server.body_received(10)
    server.body_sent(20)
    client.body_received(20)
    assert client.state is server.state is State.CONNECTED


def test_requests_begin_between_requests() -> None:
    for state in BETWEEN_REQUESTS:
        assert {m.CheckPresent, m.NotifyChange, m.Put} <= set(TABLE[state][CLIENT])
    assert m.Success not in TABLE[State.IDLE][CLIENT]
    assert m.DataPresent not in TABLE[State.IDLE][CLIENT]
