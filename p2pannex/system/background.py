"""Background tasks that run for as long as an ``async with`` block."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import trio


class Background:
    """Runs `tasks`, and those that the caller starts in `nursery`, during an ``async with`` block.

    The end of the block cancels them, and waits until they have ended. `stop` cancels them earlier.

    An exception of the block is raised as it is, not in an exception group. An exception of a task cancels the block,
    and is raised in a group.
    """

    nursery: trio.Nursery
    """The nursery of the tasks. It exists during the block."""

    def __init__(self, *tasks: Callable[[], Awaitable[object]]) -> None:
        self._tasks = tasks
        self._scope = trio.CancelScope()
        self._manager = trio.open_nursery()
        self._outer: trio.Nursery | None = None

    async def __aenter__(self) -> Self:
        self._outer = await self._manager.__aenter__()
        with trio.CancelScope(shield=True):  # brief; cancelled halfway, the nursery would not be closed in order
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
        if self._outer.cancel_scope.cancel_called:  # a task has failed: the nursery raises its error
            await self._manager.__aexit__(kind, error, trace)
            return
        self._outer.cancel_scope.shield = True  # a cancellation from outside must not interrupt the wait
        await self._manager.__aexit__(None, None, None)
