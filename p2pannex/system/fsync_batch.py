"""Work with fsyncs in it, written once and run in either of two ways.

The work is a generator. It yields each file descriptor that must be fsynced before the work continues. So the order of
steps is in one place, and the caller chooses how the fsyncs are waited for:

- `run_blocking`: one after the other, in the calling thread.
- `FsyncBatch.run`: on the event loop, at the same time as the fsyncs of other tasks. When several tasks have reached an
  fsync, each fsync runs in a thread that does nothing else, and the loop blocks until all have returned.

The second way is for the stores of one client, who waits for all of them. When that client sends a small file to three
nodes, the wait for the disk is the only part that can overlap. Running each node's whole work in a thread was measured
to be slower, because the threads compete for the interpreter at every system call. Waking each task separately, when
its own fsync has returned, was slower too.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from functools import partial
from queue import SimpleQueue
from typing import TypeAlias, TypeVar

import attrs
import trio

T = TypeVar("T")

Fsyncs: TypeAlias = Generator[int, None, T]
"""Work that yields the descriptors to fsync, and returns its result. When an fsync fails, its OSError is raised at the
``yield``."""


def run_blocking(work: Fsyncs[T]) -> T:
    """Run the work to its end in the calling thread, and return its result. It blocks."""
    try:
        fd = next(work)
        while True:
            error = _fsync(fd)
            fd = next(work) if error is None else work.throw(error)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


def _fsync(fd: int) -> OSError | None:
    """The error of the fsync, if any. It blocks."""
    try:
        os.fsync(fd)
    except OSError as error:
        return error
    return None


@attrs.define
class _Batch:
    """Descriptors that are fsynced together, and the tasks that wait for that, except the first descriptor's task."""

    fds: list[int]
    errors: list[OSError | None] = attrs.field(factory=list)
    tasks: list[trio.lowlevel.Task] = attrs.field(factory=list)


class FsyncBatch:
    """Fsyncs that the tasks of one event loop wait for together. Only tasks of that loop may use it."""

    def __init__(self) -> None:
        self._gathering: _Batch | None = None
        """The batch that more descriptors can join."""

    async def run(self, work: Fsyncs[T]) -> T:
        """Run the work on the loop, and return its result. Work that has begun goes on to its end, also when the task
        is cancelled."""
        try:
            fd = next(work)
            while True:
                error = await self._fsync(fd)
                fd = next(work) if error is None else work.throw(error)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    @trio.lowlevel.enable_ki_protection  # if the first task were interrupted, the others would wait forever
    async def _fsync(self, fd: int) -> OSError | None:
        """Fsync together with all tasks that reach an fsync now. The error of this one, if any."""
        batch = self._gathering
        if batch is not None:
            number = len(batch.fds)
            batch.fds.append(fd)
            batch.tasks.append(trio.lowlevel.current_task())
            await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
            return batch.errors[number]
        batch = self._gathering = _Batch([fd])
        await trio.lowlevel.cancel_shielded_checkpoint()  # all tasks that can run do, and may reach an fsync as well
        self._gathering = None
        batch.errors = _fsync_all(batch.fds)
        for task in batch.tasks:
            trio.lowlevel.reschedule(task)
        await trio.lowlevel.cancel_shielded_checkpoint()  # continue with them, so that the next fsyncs meet again
        return batch.errors[0]


def _fsync_all(fds: list[int]) -> list[OSError | None]:
    """Fsync all at the same time, and wait until all have returned: the error of each, if any. It blocks."""
    errors: list[OSError | None] = [None] * len(fds)
    done: SimpleQueue[None] = SimpleQueue()

    def fsync(number: int) -> None:
        try:
            errors[number] = _fsync(fds[number])
        finally:
            done.put(None)

    for number in range(1, len(fds)):
        try:
            trio.lowlevel.start_thread_soon(partial(fsync, number), lambda _: None)
        except RuntimeError:  # the system allows no more threads
            fsync(number)
    fsync(0)
    for _ in fds:
        done.get()
    return errors
