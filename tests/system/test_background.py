"""Tasks that run as long as a block does: what leaves the block, and that none of them outlives it."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from p2pannex.system.background import Background


class Task:
    """A task that notes how it ended."""

    def __init__(self) -> None:
        self.ended = False

    async def __call__(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.ended = True


async def test_tasks_end_with_the_block() -> None:
    task = Task()
    async with Background(task):
        await trio.testing.wait_all_tasks_blocked()
        assert not task.ended
    assert task.ended


async def test_an_error_of_the_block_stays_as_it_is() -> None:
    task = Task()
    with pytest.raises(ValueError, match=r"^mine$"):
        async with Background(task):
            raise ValueError("mine")
    assert task.ended


async def test_cancelled_from_outside() -> None:
    task = Task()
    with trio.CancelScope() as scope:
        async with Background(task):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert task.ended


async def test_stopped_before_its_end() -> None:
    task = Task()
    async with Background(task) as background:
        await trio.testing.wait_all_tasks_blocked()
        background.stop()
        await trio.testing.wait_all_tasks_blocked()
        assert task.ended


async def test_a_task_that_fails_cancels_the_block() -> None:
    async def fail() -> None:
        raise ValueError("its own")

    with pytest.RaisesGroup(pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="^its own$"))):
        async with Background(fail):
            await trio.sleep_forever()
