"""Connections that break at any byte, or trickle."""

from __future__ import annotations

import itertools
import math

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol.conversation import Side
from p2pannex.testing.faults import Fault, FaultyStream
from p2pannex.testing.pair import Pair
from p2pannex.testing.samples import fetch, sample, store
from p2pannex.testing.serving import served
from tests.p2p.remote.scripted import A, free_slots, hello_store, use
from tests.support.keys import HELLO
from tests.support.keys import HELLO_KEY as K


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("direction", ["receives", "sends"])
@pytest.mark.parametrize("connections", [2, 4])
async def test_connections_that_fail_at_any_byte(
    fault: Fault, direction: str, connections: int, autojump_clock: trio.testing.MockClock
) -> None:
    """All of it works, or fails with ConnectionLost: nothing else, no wrong answer, and nothing is leaked."""
    for at in itertools.chain(range(0, 700, 3), [math.inf]):
        here = hello_store()

        def peers(timeout: float, at: float = at) -> Pair:
            one, other = trio.testing.memory_stream_pair()
            faulty = FaultyStream(one, fault, **{direction: at})  # type: ignore[arg-type]
            return (
                StreamPeer(faulty, Side.CLIENT, timeout=timeout),
                StreamPeer(other, Side.SERVER, timeout=timeout),
            )

        async with served(here, peers=peers, connections=connections, timeout=30) as remote:
            try:
                await use(remote)
            except ConnectionLost:
                assert at < math.inf
            assert free_slots(remote) == connections
        await trio.testing.wait_all_tasks_blocked()
        assert here.contents[K] == HELLO
        assert here.contents.get(A, b"absent") == b"absent"
        assert not here._uploading


@pytest.mark.parametrize("piece", [1, 7, 1000])
async def test_streams_that_trickle(piece: int) -> None:
    def peers(timeout: float) -> Pair:
        one, other = trio.testing.memory_stream_pair()
        return (
            StreamPeer(FaultyStream(one, piece=piece), Side.CLIENT, timeout=timeout),
            StreamPeer(FaultyStream(other, piece=piece), Side.SERVER, timeout=timeout),
        )

    async with served(hello_store(), peers=peers) as remote:
        await use(remote)
        content = sample(4000)
        assert await fetch(remote, await store(remote, content)) == content
