"""What a remote and a server say first: the uuid, tokens, versions, BYPASS."""

from __future__ import annotations

import contextlib

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.pool import close
from p2pannex.p2p.remote import CONNECTIONS, AuthenticationFailed, Remote, WrongRepository
from p2pannex.p2p.server import serve
from p2pannex.protocol.messages import Auth, AuthFailure, AuthSuccess
from p2pannex.testing.pair import PEERS, peer_pair
from tests.p2p.remote.scripted import CHECK, Scripted, U, free_slots, hello_store, scripted
from tests.support.keys import HELLO_KEY as K


async def test_the_uuid_is_asked_for() -> None:
    async with trio.open_nursery() as nursery:
        server = Scripted(nursery, [(CHECK, b"SUCCESS\n")])
        async with await Remote.open(server.dial) as remote:
            assert remote.uuid == "u"
            assert await remote.check_present(K)
            assert server.dialled == 1, "the connection that it was asked over is kept"
        nursery.cancel_scope.cancel()


async def test_another_repository_is_told_nothing() -> None:
    async with trio.open_nursery() as nursery:
        server = Scripted(nursery, [])
        async with Remote(server.dial, "v") as remote:
            with pytest.raises(WrongRepository, match="expected repository v, found u"):
                await remote.check_present(K)
            assert free_slots(remote) == CONNECTIONS
        with pytest.raises(ConnectionLost):
            await Remote.open(server.dial, "v")
        await trio.testing.wait_all_tasks_blocked()
        assert server.heard == []
        nursery.cancel_scope.cancel()


async def test_a_repository_that_becomes_another() -> None:
    async with scripted([(CHECK, b"SUCCESS\n"), (CHECK, None)], []) as (remote, server):
        assert await remote.check_present(K)
        server.greeting = b"AUTH-SUCCESS other\n"
        with pytest.raises(WrongRepository):
            await remote.check_present(K)
        assert free_slots(remote) == CONNECTIONS


@pytest.mark.parametrize(
    ("greeting", "problem"),
    [
        (b"ERROR go away\n", "go away"),
        (b"Welcome to this machine\n", "violated the protocol"),
        (b"SUCCESS\n", "violated the protocol"),
        (b"x" * 40_000, "violated the protocol"),
        (b"AUTH-SUCC", "within 60 s|nothing for 60 s"),
        (b"", "within 60 s|nothing for 60 s"),
    ],
)
async def test_what_else_a_server_may_say_first(
    greeting: bytes, problem: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        server = Scripted(nursery, [], greeting=greeting)
        with pytest.raises(ConnectionLost, match=problem):
            await Remote.open(server.dial, timeout=60)
        nursery.cancel_scope.cancel()


async def test_a_dial_that_hangs(autojump_clock: trio.testing.MockClock) -> None:
    async def dial() -> Peer:
        await trio.sleep_forever()
        raise AssertionError

    remote = Remote(dial, U, timeout=30)
    with trio.fail_after(31):
        with pytest.raises(ConnectionLost, match="30 s"):
            await remote.check_present(K)
    assert free_slots(remote) == CONNECTIONS


async def test_a_dial_that_fails() -> None:
    async def dial() -> Peer:
        raise ConnectionLost("no route to host")

    remote = Remote(dial, U)
    for _ in range(20):
        with pytest.raises(ConnectionLost, match="no route"):
            await remote.check_present(K)
    assert free_slots(remote) == CONNECTIONS


@pytest.mark.parametrize("transport", PEERS)
async def test_tokens(transport: str) -> None:
    async def answer(server: Peer) -> None:
        try:
            request = await server.receive()
            if isinstance(request, Auth) and request.token == "good":
                await server.send(AuthSuccess(U))
                with contextlib.suppress(ConnectionLost):
                    await serve(server, hello_store())
            elif isinstance(request, Auth):
                await server.send(AuthFailure())
        finally:
            await close(server)

    async with trio.open_nursery() as nursery:

        async def dial() -> Peer:
            client, server = peer_pair(transport, authenticated=False)
            nursery.start_soon(answer, server)
            return client

        async with Remote(dial, U, credentials=Auth("me", "good")) as remote:
            assert await remote.check_present(K)
        for credentials in (Auth("me", "bad"), None):
            async with Remote(dial, U, credentials=credentials) as remote:
                with pytest.raises(AuthenticationFailed):
                    await remote.check_present(K)
                assert free_slots(remote) == CONNECTIONS
        nursery.cancel_scope.cancel()


async def test_gateways_to_bypass_are_named() -> None:
    async with scripted([(b"BYPASS g h\n" + CHECK, b"SUCCESS\n")], bypass=("g", "h")) as (remote, _):
        assert await remote.check_present(K)
