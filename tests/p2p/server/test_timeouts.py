"""How long a server waits for a client."""

from __future__ import annotations

import trio
import trio.testing

from p2pannex.errors import ConnectionLost
from tests.p2p.server.talk import ABSENT, line, store, talking


async def test_a_client_that_stops_in_the_middle_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    for words in (b"DATA 6\nabs", b"DATA 6\nabsent", b""):
        here = store()
        async with talking(here, timeout=60) as talk:
            await talk.ask(line(b"PUT ", ABSENT), b"PUT-FROM 0\n")
            if words:
                await talk.say(words)
            with trio.fail_after(61):
                await talk.done.wait()
        assert isinstance(talk.problem, ConnectionLost)
        assert not here._uploading


async def test_a_client_may_be_silent_between_requests(autojump_clock: trio.testing.MockClock) -> None:
    async with talking(store(), timeout=60) as talk:
        await trio.sleep(10_000)
        await talk.idle()


async def test_unless_it_may_not(autojump_clock: trio.testing.MockClock) -> None:
    async with talking(store(), timeout=60, idle_timeout=100) as talk:
        await trio.sleep(99)
        await talk.idle()
        await talk.closed(within=101)
    assert isinstance(talk.problem, ConnectionLost)
