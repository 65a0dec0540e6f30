"""Making things go wrong, at every point where they can.

`FaultyStream` breaks, ends, hangs or trickles after a number of bytes. `cancel_everywhere` runs an operation over and
over, cancelled each time a little later, so that what it leaves behind can be looked at after each.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from enum import Enum

import trio


class Fault(Enum):
    """What a `FaultyStream` does when its bytes are spent."""

    BREAK = "break"
    """As when the far side resets the connection."""
    END = "end"
    """The stream ends, as when the far side closed; what is sent breaks."""
    HANG = "hang"
    """Nothing comes any more, and nothing is taken."""


class FaultyStream(trio.abc.HalfCloseableStream):
    """A stream that passes on another's bytes until so many were received or sent, then shows its `fault`.

    `receives` and `sends` are those numbers, of bytes; `piece` is how many pass in one call at most. It owns the
    stream under it; with BREAK and END that is closed when the fault shows, so that the far side sees an end as well.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        fault: Fault = Fault.BREAK,
        *,
        receives: float = math.inf,
        sends: float = math.inf,
        piece: int = 65536,
    ) -> None:
        self.stream = stream
        self.fault = fault
        self.receives = receives
        self.sends = sends
        self.piece = piece

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self.receives <= 0:
            return await self._show()
        limit = int(min(self.receives, self.piece, max_bytes or self.piece))
        data = bytes(await self.stream.receive_some(limit))
        self.receives -= len(data)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        while view:
            if self.sends <= 0:
                await self._show()
                raise trio.BrokenResourceError("the far side is gone")
            size = int(min(self.sends, self.piece, len(view)))
            await self.stream.send_all(bytes(view[:size]))
            self.sends -= size
            view = view[size:]

    async def _show(self) -> bytes:
        if self.fault is Fault.HANG:
            await trio.sleep_forever()
        await trio.aclose_forcefully(self.stream)
        if self.fault is Fault.BREAK:
            raise trio.BrokenResourceError("connection reset by a test")
        return b""

    async def wait_send_all_might_not_block(self) -> None:
        if self.sends > 0:
            await self.stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        if isinstance(self.stream, trio.abc.HalfCloseableStream):
            await self.stream.send_eof()

    async def aclose(self) -> None:
        await self.stream.aclose()


Operation = Callable[[], Awaitable[object]]
"""What is cancelled."""


class _Canceller(trio.abc.Instrument):
    """Cancels a scope at the nth step that the tasks inside of it take."""

    def __init__(self, scope: trio.CancelScope, step: int, *, waking: bool) -> None:
        self._scope = scope
        self._left = step
        self._waking = waking
        self._tasks = {trio.lowlevel.current_task()}
        self.fired = False

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        nursery = task.parent_nursery
        if nursery is not None and nursery.parent_task in self._tasks:
            self._tasks.add(task)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._waking:
            self._count(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self._waking:
            self._count(task)

    def _count(self, task: trio.lowlevel.Task) -> None:
        if task in self._tasks and not self.fired:
            if not self._left:
                self.fired = True
                self._scope.cancel()
            self._left -= 1


async def cancel_everywhere(world: Callable[[], AbstractAsyncContextManager[Operation]], *, limit: int = 10_000) -> int:
    """Run an operation to every point at which it can be cancelled, cancel it there; how many points there were.

    `world` makes a new world for each run: a context manager that gives the operation, and that looks, after the
    operation has ended, whether all is as it should be, with assertions::

        @asynccontextmanager
        async def world():
            store = MemoryStore()
            yield lambda: upload_something(store)
            assert not store.contents or await store.check_present(key)

        await cancel_everywhere(world)

    Each point is tried twice: cancelled while the operation waits there, and cancelled when what it waited for has
    happened already, which is when careless code loses it. The tasks that the operation starts in nurseries of its own
    count; those that the world has started do not. After `limit` points the operation is taken for endless.
    """
    points = 0
    for waking in (False, True):
        for step in range(limit):
            try:
                async with world() as operation:
                    if not await _cancelled_at(operation, step, waking=waking):
                        break
            except BaseException as error:
                error.add_note(f"cancelled {'waking from' if waking else 'waiting at'} step {step}")
                raise
            points += 1
        else:
            raise AssertionError(f"the operation has not ended after {limit} steps")
    return points


async def _cancelled_at(operation: Operation, step: int, *, waking: bool) -> bool:
    """Whether the operation got as far as `step`, and so was cancelled there."""
    scope = trio.CancelScope()
    canceller = _Canceller(scope, step, waking=waking)
    with scope:
        trio.lowlevel.add_instrument(canceller)
        try:
            await operation()
        finally:
            trio.lowlevel.remove_instrument(canceller)
    return canceller.fired
