"""Tasks that run beside an ``async with`` block, in a nursery of the block's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import trio


class Background:
    """Run the tasks until `stop` is called or the block is left, which cancels them and waits for their end.

    What is raised in the block leaves it as it is, not in an exception group, unless a task fails too: that one cancels
    the block.
    """

    def __init__(self, *tasks: Callable[[], Awaitable[object]]) -> None:
        self._tasks = tasks
        self._scope = trio.CancelScope()
        self._manager = trio.open_nursery()
        self._nursery: trio.Nursery | None = None

    async def __aenter__(self) -> Self:
        self._nursery = await self._manager.__aenter__()
        self._nursery.start_soon(self._run)
        return self

    async def _run(self) -> None:
        with self._scope:
            async with trio.open_nursery() as nursery:
                for task in self._tasks:
                    nursery.start_soon(task)

    def stop(self) -> None:
        """Cancel the tasks. The block goes on without them."""
        self._scope.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._nursery is not None
        self.stop()
        if self._nursery.cancel_scope.cancel_called:  # by a task that failed: its error is what there is to tell
            await self._manager.__aexit__(kind, error, trace)
            return
        self._nursery.cancel_scope.shield = True  # to wait for the tasks' end is no reason to be cancelled anew
        await self._manager.__aexit__(None, None, None)
