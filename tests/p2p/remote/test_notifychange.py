"""NOTIFYCHANGE."""

# ruff: noqa: ASYNC110 - what is waited for is the other side's doing, which sets no event

from __future__ import annotations

from contextlib import aclosing

import pytest
import trio
import trio.testing

from p2pannex.errors import RemoteError
from p2pannex.p2p.remote import CONNECTIONS
from p2pannex.testing.pair import PEERS
from p2pannex.testing.serving import served
from tests.p2p.remote.git_store import Git
from tests.p2p.remote.scripted import free_slots, hello_store
from tests.support.keys import HELLO_KEY as K


@pytest.mark.parametrize("transport", PEERS)
async def test_changes(transport: str) -> None:
    here = Git()
    async with served(here, transport=transport) as remote:
        for n in range(10):
            here.send.send_nowait((f"r{n}", "s"))
        async with aclosing(remote.changes()) as changes:
            for n in range(10):
                assert await anext(changes) == (f"r{n}", "s")
            assert here.watchers == 1
            assert free_slots(remote) == CONNECTIONS - 1
        assert free_slots(remote) == CONNECTIONS
        with trio.fail_after(50):
            while here.watchers:
                await trio.sleep(0.001)


async def test_changes_wait_as_long_as_it_takes(autojump_clock: trio.testing.MockClock) -> None:
    here = Git()

    async def later() -> None:
        await trio.sleep(80_000)
        here.send.send_nowait(("r",))

    async with served(here, timeout=60) as remote, trio.open_nursery() as nursery:
        nursery.start_soon(later)
        async with aclosing(remote.changes()) as changes:
            assert await anext(changes) == ("r",)


async def test_no_changes_where_there_is_no_git_repository() -> None:
    async with served(hello_store(), transport="socket") as remote:
        async with aclosing(remote.changes()) as changes:
            with pytest.raises(RemoteError, match="no git repository"):
                await anext(changes)
        assert await remote.check_present(K)
