"""The server's side of AUTH, with trio's clock: a delay is exact here, and takes no time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MemoryReceiveStream, MemorySendStream, MockClock, memory_stream_pair

from p2pannex.access import Grant, Mode, TokenFile, TokensUnreadable
from p2pannex.errors import ConnectionLost
from p2pannex.keys.key import Key
from p2pannex.p2p.authenticate import NotAuthenticated, authenticate
from p2pannex.p2p.memory import memory_peers
from p2pannex.p2p.remote import AuthenticationFailed, handshake
from p2pannex.p2p.server import serve
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol.conversation import Side, State
from p2pannex.protocol.messages import Auth, CheckPresent
from p2pannex.stores.memory import MemoryStore

TOKEN = "s3cr3tt0k3ns3cr3tt0k3ns3cr3tt0k3"
GRANT = Grant("0", Mode.APPEND_ONLY)

Client = trio.StapledStream[MemorySendStream, MemoryReceiveStream]


def verify(token: str) -> Grant | None:
    return GRANT if token == TOKEN else None


def wire() -> tuple[Client, StreamPeer]:
    client, stream = memory_stream_pair()
    return client, StreamPeer(stream, Side.SERVER, authenticated=False)


async def rest(client: Client) -> bytes:
    received = b""
    async for data in client:
        received += data
    return received


async def test_the_right_token_lets_in_at_once(autojump_clock: MockClock) -> None:
    client, peer = wire()
    await client.send_all(f"AUTH me {TOKEN}\n".encode())
    started = trio.current_time()
    assert await authenticate(peer, "server-uuid", verify) is GRANT
    assert trio.current_time() == started
    assert await client.receive_some() == b"AUTH-SUCCESS server-uuid\n"
    assert peer.conversation.state is State.IDLE
    await peer.aclose()


async def test_a_real_client_gets_served(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The whole opening, with a file of tokens, up to an answered request; AUTH-SUCCESS comes once."""
    tokens, store = TokenFile(tmp_path), MemoryStore()
    token, grant = tokens.create()
    client, server = memory_peers(authenticated=False)

    async def run() -> None:
        assert await authenticate(server, store.uuid, tokens.verify) == grant
        await serve(server, store)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        assert await handshake(client, credentials=Auth("me", token.upper())) == store.uuid
        assert client.conversation.version == 4
        await client.send(CheckPresent(Key.parse(b"WORM--x")))
        assert (await client.receive()) is not None
        await client.aclose()


@pytest.mark.parametrize("delay", [2.0, 7.5])
async def test_a_wrong_token_is_answered_after_the_delay_and_the_connection_closed(
    autojump_clock: MockClock, delay: float
) -> None:
    client, peer = wire()
    # A second guess sent along is not looked at.
    await client.send_all(f"AUTH me wrong\nAUTH me {TOKEN}\n".encode())
    started = trio.current_time()
    with pytest.raises(NotAuthenticated, match="its token is not valid"):
        await authenticate(peer, "server-uuid", verify, delay=delay)
    assert trio.current_time() == started + delay
    assert await rest(client) == b"AUTH-FAILURE\n"


async def test_a_real_client_with_a_wrong_token(autojump_clock: MockClock) -> None:
    client, server = memory_peers(authenticated=False)

    async def run() -> None:
        with pytest.raises(NotAuthenticated):
            await authenticate(server, "server-uuid", verify)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        with pytest.raises(AuthenticationFailed):
            await handshake(client, credentials=Auth("me", "wrong"))
    await client.aclose()


async def test_who_says_nothing_is_closed_at_the_deadline(autojump_clock: MockClock) -> None:
    client, peer = wire()
    started = trio.current_time()
    with pytest.raises(NotAuthenticated, match="no AUTH within 90 s"):
        await authenticate(peer, "server-uuid", verify, deadline=90)
    assert trio.current_time() == started + 90
    assert await rest(client) == b""


async def test_a_line_that_drips_does_not_move_the_deadline(autojump_clock: MockClock) -> None:
    client, peer = wire()

    async def drip() -> None:
        for byte in f"AUTH me {TOKEN}\n".encode():
            await trio.sleep(1)
            try:
                await client.send_all(bytes([byte]))
            except trio.BrokenResourceError:
                return

    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        with pytest.raises(NotAuthenticated, match="no AUTH within 30 s"):
            await authenticate(peer, "server-uuid", verify)
        assert trio.current_time() == started + 30
    assert await rest(client) == b""


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("VERSION 4", "unexpected command"),
        ("CHECKPRESENT WORM--x", "unexpected command"),
        ("PUT  WORM--x", "unexpected command"),
        ("GET / HTTP/1.1", "unknown command"),
        ("AUTH-SUCCESS server-uuid", "unexpected command"),
        ("AUTH", "unknown command"),
        ("AUTH me", "unknown command"),
        (f"AUTH  {TOKEN}", "unknown command"),
        (f"AUTH me {TOKEN} more", "unknown command"),
        ("auth me token", "unknown command"),
        ("", "unknown command"),
    ],
)
async def test_anything_else_gets_its_error_and_is_closed(autojump_clock: MockClock, line: str, answer: str) -> None:
    client, peer = wire()
    await client.send_all(f"{line}\nAUTH me {TOKEN}\n".encode())
    with pytest.raises(NotAuthenticated, match="it did not send AUTH: ") as caught:
        await authenticate(peer, "server-uuid", verify)
    assert await rest(client) == f"ERROR {answer}\n".encode()
    assert TOKEN not in str(caught.value)


async def test_a_flood_of_lines_gets_one_answer(autojump_clock: MockClock) -> None:
    client, peer = wire()
    await client.send_all(b"x\n" * 100_000)
    with pytest.raises(NotAuthenticated):
        await authenticate(peer, "server-uuid", verify)
    assert await rest(client) == b"ERROR unknown command\n"


async def test_a_line_without_end_is_not_read_to_it(autojump_clock: MockClock) -> None:
    client, peer = wire()
    await client.send_all(b"AUTH me " + b"x" * 1_000_000)
    with pytest.raises(NotAuthenticated, match="a line of over 32768 bytes"):
        await authenticate(peer, "server-uuid", verify)
    assert peer.connection.buffered == 0
    assert await rest(client) in (b"ERROR line too long\n", b"")


@pytest.mark.parametrize("last", [b"", b"ERROR I give up\n"])
async def test_a_client_that_goes_away(autojump_clock: MockClock, last: bytes) -> None:
    client, peer = wire()
    await client.send_all(last)
    await client.send_eof()
    with pytest.raises(NotAuthenticated, match="it disconnected without AUTH"):
        await authenticate(peer, "server-uuid", verify)
    assert await rest(client) == b""


async def test_a_client_that_goes_away_in_the_middle_of_its_line(autojump_clock: MockClock) -> None:
    client, peer = wire()
    await client.send_all(b"AUTH me s3cr3t")
    await client.send_eof()
    with pytest.raises(ConnectionLost, match="in the middle of a line"):
        await authenticate(peer, "server-uuid", verify)
    assert await rest(client) == b""


@pytest.mark.parametrize("sent", [b"", b"AUTH me wrong\n"], ids=["waiting", "delaying"])
async def test_cancelling_closes(autojump_clock: MockClock, sent: bytes) -> None:
    client, peer = wire()
    await client.send_all(sent)
    with trio.move_on_after(1) as scope:
        await authenticate(peer, "server-uuid", verify)
    assert scope.cancelled_caught
    assert await rest(client) == b""


async def test_tokens_that_cannot_be_read_grant_nothing_and_no_token_is_called_wrong(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    def unreadable(token: str) -> Grant | None:
        raise TokensUnreadable("the file makes no sense")

    client, peer = wire()
    await client.send_all(f"AUTH me {TOKEN}\n".encode())
    with pytest.raises(NotAuthenticated):
        await authenticate(peer, "server-uuid", unreadable)
    assert await rest(client) == b"ERROR the server cannot verify tokens at the moment; try again later\n"
    assert [record.getMessage() for record in caplog.records] == ["no client can be accepted: the file makes no sense"]


@pytest.mark.parametrize("outcome", [lambda token: GRANT, lambda token: None], ids=["let in", "refused"])
async def test_tokens_are_in_no_log_error_or_repr(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, outcome: Callable[[str], Grant | None]
) -> None:
    caplog.set_level(logging.DEBUG)
    client, peer = wire()
    await client.send_all(f"AUTH me {TOKEN}\n".encode())
    shown = repr(Auth("me", TOKEN))
    try:
        shown += repr(await authenticate(peer, "server-uuid", outcome))
    except NotAuthenticated as error:
        while error is not None:
            shown += repr(error) + str(error)
            error = error.__context__  # type: ignore[assignment]
    await peer.aclose()
    assert TOKEN not in shown + caplog.text


async def test_the_log_says_that_a_token_has_expired(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The client does not learn it: it gets the same reply as for any other token."""
    tokens = TokenFile(tmp_path)
    token, grant = tokens.create(expires=1, name="laptop")
    client, peer = wire()
    await client.send_all(f"AUTH me {token}\n".encode())
    with pytest.raises(NotAuthenticated, match=f"token {grant.id} laptop expired at 1970-01-01 00:00:01 UTC"):
        await authenticate(peer, "server-uuid", tokens.verify, refusal=tokens.refusal)
    assert await rest(client) == b"AUTH-FAILURE\n"
