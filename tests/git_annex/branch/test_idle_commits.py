"""When the journal is committed: when nothing has changed for a while, and again after a failure."""

from __future__ import annotations

import trio
import trio.testing

from p2pannex.errors import RemoteError
from p2pannex.git_annex.branch.idle_commits import IDLE, RETRY, IdleCommits


async def test_changes_that_belong_together_become_one_commit(autojump_clock: trio.testing.MockClock) -> None:
    commits: list[float] = []

    async def commit() -> None:
        commits.append(trio.current_time())

    idle = IdleCommits(commit)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(idle.run)
        for _ in range(5):
            idle.changed()
            await trio.sleep(IDLE / 2)
        last = trio.current_time() - IDLE / 2
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert commits == [last + IDLE]


async def test_a_commit_that_failed_is_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    """Without another change, too: the changes stay in the journal, where other repositories do not see them."""
    tries: list[float] = []

    async def commit() -> None:
        tries.append(trio.current_time())
        if len(tries) < 3:
            raise RemoteError("the branch is locked")

    idle = IdleCommits(commit)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(idle.run)
        idle.changed()
        await trio.sleep(10 * RETRY)
        nursery.cancel_scope.cancel()
    assert len(tries) == 3
    assert tries[1] - tries[0] <= RETRY + IDLE
