"""Work that waits for the disk in between.

It is written as a generator that gives each descriptor which has to be fsynced before it goes on. So the order of
things is written once, and whoever runs the work says how it waits:

- `at_once`: in the thread that calls.
- `side_by_side`: with all other work on the loop that has got as far at that moment. The fsyncs are made at the same
  time, each in a thread that does nothing else, and the loop waits for them. That is for the stores of one client, who
  waits for all of them: of three nodes' small uploads, all that can be done at the same time is to wait for the disk.
  Threads that did all of the work would take turns with the interpreter at every call into the system, and tasks that
  waited for a thread each would be woken one by one; both were measured to cost what the waiting together saves.
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
"""Work, and what comes of it. An fsync that fails is raised where the descriptor was given."""


def at_once(work: Fsyncs[T]) -> T:
    """Do the work. It blocks."""
    try:
        fd = next(work)
        while True:
            error = _fsync(fd)
            fd = next(work) if error is None else work.throw(error)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


async def side_by_side(work: Fsyncs[T]) -> T:
    """Do the work on the loop. Once begun it goes on to its end, also when the task is cancelled."""
    try:
        fd = next(work)
        while True:
            error = await _fsync_beside_others(fd)
            fd = next(work) if error is None else work.throw(error)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


def _fsync(fd: int) -> OSError | None:
    """What went wrong, if anything. It blocks."""
    try:
        os.fsync(fd)
    except OSError as error:
        return error
    return None


@attrs.define
class _Batch:
    """Descriptors that will be fsynced together, and the tasks that wait for it, beside the first one's."""

    fds: list[int]
    errors: list[OSError | None] = attrs.field(factory=list)
    tasks: list[trio.lowlevel.Task] = attrs.field(factory=list)


class _Loop:
    """What the tasks of one loop share: the batch that takes more."""

    gathering: _Batch | None = None


_loop: trio.lowlevel.RunVar[_Loop] = trio.lowlevel.RunVar("fsyncs side by side")


def _this_loop() -> _Loop:
    try:
        return _loop.get()
    except LookupError:
        _loop.set(_Loop())
        return _loop.get()


@trio.lowlevel.enable_ki_protection  # a first one that went away would leave the others waiting
async def _fsync_beside_others(fd: int) -> OSError | None:
    """Fsync together with the other tasks that want it now. What went wrong, if anything."""
    loop = _this_loop()
    batch = loop.gathering
    if batch is not None:
        number = len(batch.fds)
        batch.fds.append(fd)
        batch.tasks.append(trio.lowlevel.current_task())
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        return batch.errors[number]
    batch = loop.gathering = _Batch([fd])
    await trio.lowlevel.cancel_shielded_checkpoint()  # every task that can go on now does, and may want an fsync, too
    loop.gathering = None
    batch.errors = _fsync_all(batch.fds)
    for task in batch.tasks:
        trio.lowlevel.reschedule(task)
    await trio.lowlevel.cancel_shielded_checkpoint()  # and goes on with them, so that the next time they meet again
    return batch.errors[0]


def _fsync_all(fds: list[int]) -> list[OSError | None]:
    """Fsync at the same time, and wait for all: what went wrong with each. It blocks."""
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
        except RuntimeError:  # there are as many threads as there may be
            fsync(number)
    fsync(0)
    for _ in fds:
        done.get()
    return errors
