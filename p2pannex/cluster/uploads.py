"""An upload into a cluster: the same bytes go to several nodes, to each at its own pace and from its own offset.

Each target (`UploadTarget`) has a queue of blocks and a task that sends them. The queues hold references to the same
blocks, so an upload takes at most as much memory as all its queues may hold. A slow node delays the others only when
its queue is full. A node that fails, or that takes nothing for its timeout, is left out from then on;
`p2pannex.cluster.stall_budget` limits the delays in total. The outcome names exactly the repositories that now have the
content, and the nodes that were to store it and did not.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from typing import ParamSpec, TypeVar

import trio

from p2pannex.cluster.admission import Admission
from p2pannex.cluster.ask import Failures, NotDelivered, listed
from p2pannex.cluster.block_queue import PIECES, QUEUE, BlockQueue, Memory
from p2pannex.cluster.copies import Outcomes
from p2pannex.cluster.downloads import SMALL_CONTENT, TRANSFER_CLOSE_TIMEOUT
from p2pannex.cluster.stall_budget import StallBudget
from p2pannex.cluster.upload_target import UploadTarget
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.service import NotStored, Stored, Upload, seconds_to_hash

P = ParamSpec("P")
T = TypeVar("T")

OUTCOME = "outcome"
"""The kind of request, for `Node.refused`, whose refusal is the outcome NotStored."""

NO_REASON = "it did not store the content, and gave no reason"

IN_BUFFERS = 32 << 20
"""Bytes that buffers between a node and us may take at most. A node that has taken more reads what we send, so it does
not hash what it kept before it reads."""


class _TargetTask:
    """One target, its queue, and the task that sends to it. It holds a slot at each of its nodes until it is done."""

    def __init__(self, target: UploadTarget, admission: Admission, queue: int, memory: Memory | None) -> None:
        self.target = target
        self.upload = target.upload
        self.queue = BlockQueue(queue, memory)
        self._admission = admission
        self._has_slots = True
        self.skip = 0
        """Bytes at the start of the body that this target has already."""
        self.valid: bool | None = None
        """Whether the body is valid, as the source reported; None until its end, and if it stopped in the middle."""
        self.outcome: Stored | NotStored | None = None
        self.problem: RemoteError | ConnectionLost | None = None
        self.done = trio.Event()
        self.scope = trio.CancelScope()
        self.closed = False
        self._limit = math.inf
        self._asked_at = 0.0
        self._to_hash = 0.0
        """Seconds that the node may need, in the running call, to hash what it has. They are not a part of `_limit`."""
        self._asking = trio.CancelScope()

    @property
    def uuids(self) -> frozenset[str]:
        """The repositories of this target that have the content now."""
        if self.outcome is None:
            return frozenset()
        return self.outcome.uuids | (self.target.stands_for if isinstance(self.outcome, Stored) else frozenset())

    @property
    def failures(self) -> Failures:
        """The nodes of this target that did not store the content."""
        if isinstance(self.problem, NotDelivered):
            return self.problem.failures
        if self.problem is not None:
            return {node.name: str(self.problem) for node in self.target.nodes}
        if not isinstance(self.outcome, Stored):
            reason = self.outcome.reason if self.outcome is not None and self.outcome.reason else NO_REASON
            return {node.name: reason for node in self.target.nodes}
        if len(self.target.stands_for) != 1:
            return dict(self.outcome.failures)  # they are nodes of this target
        return {f"{self.target.name}/{name}": reason for name, reason in self.outcome.failures.items()}

    def log_outcome(self) -> None:
        """Log it if the outcome is that the content is not stored. Errors were logged already."""
        for node in self.target.nodes:
            if isinstance(self.outcome, Stored):
                node.fulfilled(OUTCOME)
            elif self.outcome is not None:
                node.refused(OUTCOME, self.outcome.reason or NO_REASON)

    def leave(self) -> None:
        """Give the slots back. A second call does nothing."""
        if self._has_slots:
            self._has_slots = False
            for node in self.target.nodes:
                self._admission.leave(node)

    def limit_next_step(self, seconds: float) -> None:
        """Leave the target out if a call takes longer than `seconds`, also the call that is running now."""
        if not self.target.own_deadlines:
            self._limit = seconds
            self._asking.deadline = self._asked_at + seconds + self._to_hash

    async def _ask(self, count: int, request: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs) -> T:
        self._asked_at = trio.current_time()
        self._to_hash = seconds_to_hash(count)
        with trio.CancelScope(deadline=self._asked_at + self._limit + self._to_hash) as self._asking:
            return await self.target.ask(count, request, *args, **named)
        self.target.failed()
        raise ConnectionLost(f"{self.target.name} did nothing for {trio.current_time() - self._asked_at:.3g} s")

    async def give(self, block: memoryview, stall_budget: StallBudget) -> None:
        """Queue a block. If the queue is full, the whole upload waits for this target, so the wait is limited."""
        if self.queue.full(block):
            started = trio.current_time()
            self.limit_next_step(stall_budget.pause(self.target))
            await self.queue.put(block)
            if self.queue.dropped:
                stall_budget.spend(self.target, trio.current_time() - max(started, self._asked_at))
            self.limit_next_step(math.inf)
        else:
            await self.queue.put(block)

    async def run(self, length: int) -> None:
        """Send the queued blocks, then get the outcome. Never raises: a failure is in `problem`."""
        try:
            with self.scope:
                await self._send(length, one_deadline=self.queue.ended and length <= SMALL_CONTENT)
        finally:
            self.queue.drop()
            self.done.set()
        if self.problem is not None:
            await self.aclose()  # in this task: the node may hang in this call too, and no other should wait for it

    async def _send(self, length: int, *, one_deadline: bool) -> None:
        upload = self.upload
        try:
            if one_deadline and self.valid is not None:
                self.outcome = await self._ask(upload.offset + length, self._send_all, length, self.valid)
            else:
                await self._ask(upload.offset, upload.begin, length)
                sent = 0
                while (block := await self.queue.get()) is not None:
                    await self._ask(upload.offset if sent < IN_BUFFERS else 0, upload.send_all, block)
                    sent += len(block)
                if self.valid is not None:
                    self.outcome = await self._ask(upload.offset + length, upload.finish, self.valid)
            if self.outcome is not None:
                self.leave()
        except (RemoteError, ConnectionLost) as error:
            self.problem = error

    async def _send_all(self, length: int, valid: bool) -> Stored | NotStored:
        """Send all that is queued, under one deadline."""
        await self.upload.begin(length)
        while (block := await self.queue.get()) is not None:
            await self.upload.send_all(block)
        return await self.upload.finish(valid)

    async def data_present(self, size: int) -> None:
        try:
            self.outcome = await self._ask(size, self.upload.data_present)
        except (RemoteError, ConnectionLost) as error:
            self.problem = error

    async def aclose(self) -> None:
        if not self.closed:
            self.closed = True
            try:
                await close_all([self.upload])
            finally:
                self.leave()


class ClusterUpload(Upload):
    """Several uploads as one. Its tasks run in `nursery`, the cluster's; its slots are given back to `admission`.

    `size` is that of the whole content, 0 if it is not known.
    `present` are repositories that had the content before, and `failures` the nodes that have failed so far. `outcomes`
    makes the outcome, `queue` is how many bytes may wait for one target, and `memory` counts those of all.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        targets: Iterable[UploadTarget],
        present: frozenset[str],
        failures: Failures,
        outcomes: Outcomes,
        admission: Admission,
        stall_budget: StallBudget,
        *,
        size: int = 0,
        queue: int,
        memory: Memory | None = None,
    ) -> None:
        self._nursery = nursery
        self._size = size
        self._tasks = [_TargetTask(target, admission, queue, memory) for target in targets]
        self._present = present
        self._failures = failures
        self._outcomes = outcomes
        self._stall_budget = stall_budget
        self._memory = memory
        self._length: int | None = None
        self._started = False
        self._closed = False
        self._sent = 0
        self.offset = min(task.upload.offset for task in self._tasks)

    async def begin(self, length: int) -> None:
        self._length = length
        for task in self._tasks:
            task.skip = task.upload.offset - self.offset
            if task.skip > length:
                # It kept more bytes than the content has, so they are not from this content.
                task.problem = RemoteError("it kept more bytes than the content has")
                task.queue.drop()
                task.done.set()
        await trio.lowlevel.checkpoint_if_cancelled()

    def _start(self) -> None:
        """Start the tasks. For small content this waits until all of it is queued, so that one deadline per target
        covers all its calls."""
        if not self._started and self._length is not None:
            self._started = True
            for task in self._tasks:
                if not task.done.is_set():
                    self._nursery.start_soon(task.run, self._length - task.skip)

    async def send_all(self, view: memoryview) -> None:
        block = memoryview(bytes(view))  # the view is valid during this call only; all targets share the copy
        if self._sent + len(block) > SMALL_CONTENT or any(task.queue.full(block) for task in self._tasks):
            self._start()
        if self._memory is not None:
            self._memory.used += len(block)
        try:
            for task in self._tasks:
                begin = min(max(task.skip - self._sent, 0), len(block))
                if begin < len(block):
                    await task.give(block[begin:], self._stall_budget)
        finally:
            if self._memory is not None:
                self._memory.used -= len(block)
        self._sent += len(block)
        if not self._present and all(task.queue.dropped for task in self._tasks):
            raise self._problem()

    async def finish(self, valid: bool) -> Stored | NotStored:
        for task in self._tasks:
            task.valid = valid
            task.queue.end()
            task.limit_next_step(self._stall_budget.rest(task.target))
        self._start()
        for task in self._tasks:
            await task.done.wait()
        return self._outcome()

    async def data_present(self) -> Stored | NotStored:
        async with trio.open_nursery() as nursery:
            for task in self._tasks:
                task.limit_next_step(self._stall_budget.rest(task.target))
                nursery.start_soon(task.data_present, self._size)
        return self._outcome()

    def _outcome(self) -> Stored | NotStored:
        """Names the repositories that have the content now: those that stored it, and those that had it before.

        If there are any, this returns an outcome even if every target failed, since an error cannot name repositories.
        """
        if not self._present and all(task.problem is not None for task in self._tasks):
            raise self._problem()
        uuids = self._present.union(*(task.uuids for task in self._tasks))
        failures = dict(self._failures)
        for task in self._tasks:
            failures |= task.failures
        stored = any(isinstance(task.outcome, Stored) for task in self._tasks)
        if stored:  # otherwise the content may be wrong, which is no failure of a node
            for task in self._tasks:
                task.log_outcome()
        return self._outcomes.of_upload(uuids, failures, stored=stored)

    def _problem(self) -> RemoteError:
        failures = dict(self._failures)
        failures |= {task.target.name: str(task.problem) for task in self._tasks if task.problem}
        return RemoteError(f"no node could store the content: {listed(failures)}")

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if not all(task.done.is_set() for task in self._tasks):
                await self._stop()
        finally:
            try:
                # Uploads with an outcome close quickly, so they may be closed one after the other.
                with trio.move_on_after(TRANSFER_CLOSE_TIMEOUT, shield=True):
                    for task in self._tasks:
                        if task.outcome is not None:
                            await task.upload.aclose()
                await close_all(task for task in self._tasks if task.outcome is None and not task.closed)
            finally:
                for task in self._tasks:
                    task.queue.drop()
                    task.leave()

    async def _stop(self) -> None:
        """Send what is queued, so that a later upload can resume from it, but only for `TRANSFER_CLOSE_TIMEOUT`."""
        if self._length is None:
            return
        with trio.move_on_after(TRANSFER_CLOSE_TIMEOUT, shield=True):
            for task in self._tasks:
                task.queue.end()
            self._start()
            for task in self._tasks:
                await task.done.wait()
        with trio.CancelScope(shield=True):
            for task in self._tasks:
                task.scope.cancel()
                await task.done.wait()


async def close_all(uploads: Iterable[Upload | _TargetTask]) -> None:
    """Close uploads, all at the same time, within `TRANSFER_CLOSE_TIMEOUT`, also while being cancelled."""
    uploads = list(uploads)
    if not uploads:
        return
    with trio.move_on_after(TRANSFER_CLOSE_TIMEOUT, shield=True):
        if len(uploads) == 1:
            await uploads[0].aclose()
            return
        async with trio.open_nursery() as nursery:
            for upload in uploads:
                nursery.start_soon(upload.aclose)


__all__ = ["PIECES", "QUEUE", "ClusterUpload", "close_all"]
