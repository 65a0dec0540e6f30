"""Tasks that run beside an ``async with`` block, in a nursery of the block's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import trio


class Background:
    """Run the tasks, and those that are started in `nursery` later, until `stop` is called or the block is left, which
    cancels them and waits for their end.

    What is raised in the block leaves it as it is, not in an exception group, unless a task fails too: that one cancels
    the block.
    """

    nursery: trio.Nursery
    """Where the tasks are, while the block lasts."""

    def __init__(self, *tasks: Callable[[], Awaitable[object]]) -> None:
        self._tasks = tasks
        self._scope = trio.CancelScope()
        self._manager = trio.open_nursery()
        self._outer: trio.Nursery | None = None

    async def __aenter__(self) -> Self:
        self._outer = await self._manager.__aenter__()
        with trio.CancelScope(shield=True):  # it takes a moment, and what is begun has to be ended in order
            await self._outer.start(self._run)
        return self

    async def _run(self, *, task_status: trio.TaskStatus[None]) -> None:
        with self._scope:
            async with trio.open_nursery() as self.nursery:
                for task in self._tasks:
                    self.nursery.start_soon(task)
                task_status.started()
                await trio.sleep_forever()

    def stop(self) -> None:
        """Cancel the tasks. The block goes on without them."""
        self._scope.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._outer is not None
        self.stop()
        if self._outer.cancel_scope.cancel_called:  # by a task that failed: its error is what there is to tell
            await self._manager.__aexit__(kind, error, trace)
            return
        self._outer.cancel_scope.shield = True  # to wait for the tasks' end is no reason to be cancelled anew
        await self._manager.__aexit__(None, None, None)
