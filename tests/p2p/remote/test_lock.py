"""LOCKCONTENT: holders that are lost or cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost
from p2pannex.service import RETENTION, NotLocked
from p2pannex.testing.faults import Operation, cancel_everywhere
from p2pannex.testing.pair import PEERS
from p2pannex.testing.serving import served
from tests.p2p.remote.scripted import A, hello_store
from tests.support.clocks import ManualClock
from tests.support.keys import HELLO_KEY as K


@pytest.mark.parametrize("transport", PEERS)
async def test_a_lock_whose_holder_is_lost_is_kept(transport: str) -> None:
    clock = ManualClock()
    here = hello_store(clock)
    async with served(here, transport=transport) as remote:
        lock = await remote.lock(K)
        await lock.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert not (await remote.remove(K)).ok
        clock.advance(RETENTION - 1)
        assert not (await remote.remove(K)).ok
        clock.advance(1)
        assert (await remote.remove(K)).ok


async def test_a_lock_that_was_lost_cannot_be_released() -> None:
    async with served(hello_store()) as remote:
        lock = await remote.lock(K)
        await lock.aclose()
        with pytest.raises(ConnectionLost):
            await lock.release()


@pytest.mark.parametrize("transport", PEERS)
async def test_a_block_with_a_lock_that_is_refused_does_not_run(transport: str) -> None:
    """``async with await service.lock(key)`` is safe as it stands: without the lock, its block does not run."""
    ran = False
    async with served(hello_store(), transport=transport) as remote:
        with pytest.raises(NotLocked, match="not present or cannot be locked"):
            async with await remote.lock(A):
                ran = True
        assert not ran
        async with await remote.lock(K):
            assert not (await remote.remove(K)).ok


async def test_a_cancelled_holder_keeps_the_lock() -> None:
    """Wherever the holder is cancelled once it has the lock, the content is kept for as long as was promised."""

    @asynccontextmanager
    async def world() -> AsyncIterator[Operation]:
        clock = ManualClock()
        here = hello_store(clock)
        held = released = False

        async def operation() -> None:
            nonlocal held, released
            async with await remote.lock(K):
                held = True
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
                released = True

        async with served(here, transport="stream") as remote:
            yield operation
            await trio.testing.wait_all_tasks_blocked()
            if held and not released:
                assert not (await here.remove(K)).ok
            clock.advance(RETENTION)
            assert (await here.remove(K)).ok, "and no longer"

    assert await cancel_everywhere(world) > 3
