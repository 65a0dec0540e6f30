"""Requests of a remote that are cancelled at any moment."""

# ruff: noqa: ASYNC110 - what is waited for is the other side's doing, which sets no event

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from p2pannex.p2p.remote import Remote
from p2pannex.service import RETENTION
from p2pannex.testing.faults import Operation, cancel_everywhere
from p2pannex.testing.samples import fetch, key_of, sample, store
from p2pannex.testing.serving import served
from tests.p2p.remote.scripted import free_slots, hello_store, use
from tests.support.clocks import ManualClock
from tests.support.keys import HELLO
from tests.support.keys import HELLO_KEY as K


async def upload_big(remote: Remote) -> None:
    await store(remote, sample(1_100_000))


async def download_big(remote: Remote) -> None:
    assert await fetch(remote, key_of(BIG)) == BIG


async def lock_and_release(remote: Remote) -> None:
    async with await remote.lock(K):
        await trio.lowlevel.checkpoint()


BIG = sample(1_100_000, seed=1)
OPERATIONS: dict[str, Callable[[Remote], Awaitable[None]]] = {
    "use": use,
    "upload": upload_big,
    "download": download_big,
    "lock": lock_and_release,
}


@pytest.mark.parametrize("transport", ["memory", "stream", "socket"])
@pytest.mark.parametrize("name", OPERATIONS)
async def test_cancelled_anywhere(transport: str, name: str) -> None:
    """Slots come back, the store is right, locks are as promised, and the remote goes on."""
    operation = OPERATIONS[name]

    @asynccontextmanager
    async def world() -> AsyncIterator[Operation]:
        clock = ManualClock()
        here = hello_store(clock)
        here.contents[key_of(BIG)] = BIG
        async with served(here, transport=transport, connections=2) as remote:
            yield lambda: operation(remote)
            assert free_slots(remote) == 2
            assert all(peer.reusable for peer in remote._pool._idle)
            with trio.fail_after(50):
                while here._uploading:
                    await trio.sleep(0.001)
            for key, partial in here.partials.items():
                assert sample(1_100_000).startswith(partial) or b"absent".startswith(partial), key
            for key, content in here.contents.items():
                assert key_of(content) == key
            assert here.contents[K] == HELLO
            clock.advance(2 * RETENTION)
            await use(remote)
            assert free_slots(remote) == 2

    assert await cancel_everywhere(world) > 3
