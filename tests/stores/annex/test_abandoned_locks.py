"""Locks whose clients were lost."""

from __future__ import annotations

import fcntl
from pathlib import Path

import trio
import trio.testing

from p2pannex.stores.annex.store import AnnexStore
from p2pannex.system.file_locks import try_range
from p2pannex.testing.samples import store
from tests.stores.annex.repository import CONTENT, KEY, locked
from tests.support.clocks import ManualClock


async def test_the_lock_of_a_lost_client_is_let_go_in_time(
    repository: Path, mock_clock: trio.testing.MockClock
) -> None:
    """While we hold it, git-annex's own unlock does not end the promise; and then it must be able to remove it."""
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one:
        await store(one, CONTENT, KEY)
        await (await locked(one)).aclose()
        with open(one.layout.find(KEY) + b".lck", "rb+") as file:
            assert not try_range(file.fileno(), fcntl.F_WRLCK)
            await trio.testing.wait_all_tasks_blocked()
            clock.advance(601)
            mock_clock.jump(601)
            await trio.testing.wait_all_tasks_blocked()
            assert try_range(file.fileno(), fcntl.F_WRLCK)
