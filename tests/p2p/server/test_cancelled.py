"""A server that is cancelled at any moment leaves a store that is right."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost
from p2pannex.p2p.server import serve
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol.conversation import Side, State
from p2pannex.protocol.messages import LATEST_VERSION
from p2pannex.service import RETENTION
from p2pannex.testing.faults import Operation, cancel_everywhere
from p2pannex.testing.samples import key_of, sample
from tests.p2p.server.talk import RAW, Talk, line, store
from tests.support.clocks import ManualClock
from tests.support.keys import HELLO
from tests.support.keys import HELLO_KEY as K


@pytest.mark.parametrize("size", [2000, 2_500_000])
async def test_a_server_cancelled_anywhere_leaves_a_store_that_is_right(size: int) -> None:
    content = sample(size)
    key = key_of(content)

    @asynccontextmanager
    async def world() -> AsyncIterator[Operation]:
        clock = ManualClock()
        here = store(clock=clock)
        one, other = trio.testing.memory_stream_pair()
        talk = Talk(one)
        said: list[str] = []

        async def client() -> None:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, AssertionError):
                await talk.ask(line(b"PUT ", key.raw), b"PUT-FROM 0\n")
                await talk.say(b"DATA %d\n" % size + content + b"VALID\n")
                await talk.hear(b"SUCCESS\n")
                said.append("stored")
                await talk.ask(line(b"LOCKCONTENT", RAW), b"SUCCESS\n")
                said.append("locked")
                await talk.say(b"UNLOCKCONTENT\n")
                await talk.ask(line(b"LOCKCONTENT", key.raw), b"SUCCESS\n")
                said.append("kept")
                await talk.stream.aclose()

        async def operation() -> None:
            peer = StreamPeer(other, Side.SERVER, state=State.IDLE, timeout=60)
            peer.connection.version = LATEST_VERSION
            with contextlib.suppress(ConnectionLost):
                await serve(peer, here)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(client)
            yield operation
            with trio.fail_after(50):
                await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert here.contents[K] == HELLO
        assert here.contents.get(key, content) == content
        assert bytes(here.partials.get(key, b"")) == content[: len(here.partials.get(key, b""))]
        assert not here._uploading
        if "stored" in said:
            assert key in here.contents
        if "kept" in said:
            assert not (await here.remove(key)).ok
            clock.advance(RETENTION)
            assert (await here.remove(key)).ok

    assert await cancel_everywhere(world) > 10
