"""Faults at every point: connections that fail after any number of bytes, operations cancelled at any point.

`FaultyStream` breaks, ends or hangs after a number of bytes, and can pass bytes in small pieces. `cancel_everywhere`
runs an operation again and again and cancels it a little later each time, so that a test can check after each run what
the operation left behind.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from enum import Enum

import trio


class Fault(Enum):
    """What a `FaultyStream` does after its last byte."""

    BREAK = "break"
    """The connection breaks, as if the peer had reset it."""
    END = "end"
    """The stream ends, as if the peer had closed it; sending breaks."""
    HANG = "hang"
    """No more bytes arrive, and sending waits forever."""


class FaultyStream(trio.abc.HalfCloseableStream):
    """Passes on the bytes of another stream, until `receives` bytes were received or `sends` bytes were sent; then it
    has its `fault`.

    `piece` is how many bytes pass in one call at most. It owns the stream under it. With BREAK and END, the fault
    closes that stream, so that the peer sees an end as well.
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
            return await self._fail()
        limit = int(min(self.receives, self.piece, max_bytes or self.piece))
        data = bytes(await self.stream.receive_some(limit))
        self.receives -= len(data)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        while view:
            if self.sends <= 0:
                await self._fail()
                raise trio.BrokenResourceError("connection closed by a test")
            size = int(min(self.sends, self.piece, len(view)))
            await self.stream.send_all(bytes(view[:size]))
            self.sends -= size
            view = view[size:]

    async def _fail(self) -> bytes:
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
"""The operation that is cancelled."""


class _Canceller(trio.abc.Instrument):
    """Cancels a scope at a given step of the tasks inside it."""

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
    """Cancel an operation at every point at which it can be cancelled, in one run for each. Returns the number of
    points.

    `world` makes what the operation works on, anew for each run. It is a context manager that yields the operation, and
    makes its assertions after the operation has ended::

        @asynccontextmanager
        async def world():
            store = MemoryStore()
            yield lambda: upload_something(store)
            assert not store.contents or await store.check_present(key)

        await cancel_everywhere(world)

    Each point is tried twice: cancelled while the operation waits there, and cancelled when the event that it waits for
    has happened already, where careless code loses that event. Tasks that the operation starts in its own nurseries
    count; tasks that `world` started do not. AssertionError if the operation has not ended after `limit` points.
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
    """Run the operation and cancel it at `step`. False if it ended before that step."""
    scope = trio.CancelScope()
    canceller = _Canceller(scope, step, waking=waking)
    with scope:
        trio.lowlevel.add_instrument(canceller)
        try:
            await operation()
        finally:
            trio.lowlevel.remove_instrument(canceller)
    return canceller.fired
