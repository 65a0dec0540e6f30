"""A remote whose server answers with an error, with nonsense, or not at all."""

from __future__ import annotations

from contextlib import aclosing

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.p2p.remote import CONNECTIONS, Remote
from tests.p2p.remote.scripted import CHECK, REMOVE, REPEATABLE, Script, free_slots, scripted
from tests.support.keys import HELLO_KEY as K


@pytest.mark.parametrize("name", [*REPEATABLE, "remove"])
async def test_an_error_fails_the_request_and_not_the_connection(name: str) -> None:
    requests = {**REPEATABLE, "remove": (REMOVE, b"SUCCESS\n", lambda remote: remote.remove(K))}
    request, _, call = requests[name]
    script: Script = [*[(request, b"ERROR it is  full\n")] * 3, (CHECK, b"SUCCESS\n")]
    async with scripted(script) as (remote, server):
        for _ in range(3):
            with pytest.raises(RemoteError, match="it is  full") as caught:
                await call(remote)
            assert not isinstance(caught.value, ConnectionLost)
        assert await remote.check_present(K)
        assert server.dialled == 1
        assert free_slots(remote) == CONNECTIONS


NONSENSE = [b"PUT-FROM 0\n", b"FOO\n", b"\n", b"SUCC", b"x" * 40_000, b"VERSION 4\n", b"CHECKPRESENT SHA256--x\n"]


@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_a_server_that_makes_no_sense(nonsense: bytes, autojump_clock: trio.testing.MockClock) -> None:
    async with scripted([(CHECK, nonsense)], [(CHECK, b"SUCCESS\n")]) as (remote, server):
        with pytest.raises(ConnectionLost):
            await remote.check_present(K)
        assert await remote.check_present(K)
        assert server.dialled == 2
        assert free_slots(remote) == CONNECTIONS


@pytest.mark.parametrize("name", [*REPEATABLE, "remove"])
async def test_a_server_that_never_answers(name: str, autojump_clock: trio.testing.MockClock) -> None:
    requests = {**REPEATABLE, "remove": (REMOVE, b"SUCCESS\n", lambda remote: remote.remove(K))}
    request, _, call = requests[name]
    async with scripted([(request, b"")]) as (remote, _):
        began = trio.current_time()
        with pytest.raises(ConnectionLost, match="60 s"):
            await call(remote)
        assert trio.current_time() - began == pytest.approx(60)
        assert free_slots(remote) == CONNECTIONS


async def watch(remote: Remote) -> None:
    with trio.move_on_after(0.001):
        async with aclosing(remote.changes()) as changes:
            await anext(changes)
