"""How tasks wait for the disk: in threads, inline, or in fsyncs that are batched across stores.

Storing or locking a small file takes the disk some milliseconds. In a thread it keeps no other task waiting, but the
two switches of thread take about as long as the work without its fsyncs. Which way is best depends on who else needs
the event loop:

===========  ================================================  =======================================================
Way          For                                               Where disk work runs
===========  ================================================  =======================================================
`InThreads`  a process with many clients (the default)         in a thread
`Inline`     a process with one client and one store, such     on the loop, which blocks meanwhile
             as p2pannex-shell
`Batched`    a process with one client and several stores,     the end of an upload on the loop, its fsyncs at the same
             such as p2pannex-shell on a gateway               time as those of other stores; the rest in a thread
===========  ================================================  =======================================================

In every way, work that has begun goes on to its end: cancelling the task waits for it. A task that was cancelled before
does not begin the work.

**Why there is no deadlock.** Disk work may hold a key's exclusion, which is a file lock, and other disk work may block
until it gets the same lock. That wait ends if the holder can always go on. A holder in another process does not depend
on this one. For holders in this process, each class says why they can go on.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import trio

from p2pannex.system.fsync_batch import FsyncBatch, Fsyncs, run_blocking

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class DiskWork(abc.ABC):
    """A way to wait for disk work. A store, a branch or a gateway is given one when it is made."""

    may_block_loop: bool
    """Whether brief work that waits for no lock may run on the event loop: no other client needs the loop meanwhile."""

    def for_store(self) -> DiskWork:
        """The object for one store, which calls this when it is made. `Batched` needs one for each store."""
        return self

    @abc.abstractmethod
    async def run(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Call the function, which takes some milliseconds and may wait for a key's exclusion. Its result."""

    @abc.abstractmethod
    async def run_fsyncs(self, work: Fsyncs[T]) -> T:
        """Run work that takes some milliseconds, may wait for a key's exclusion, and yields what it needs fsynced. Its
        result."""


class InThreads(DiskWork):
    """Disk work runs in threads, so that the clients do not wait for each other's.

    No deadlock: the holder of an exclusion runs in a thread of its own, and needs neither the loop nor another thread.
    """

    may_block_loop = False

    async def run(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        return await trio.to_thread.run_sync(function, *arguments)

    async def run_fsyncs(self, work: Fsyncs[T]) -> T:
        return await trio.to_thread.run_sync(run_blocking, work)


class Inline(DiskWork):
    """Disk work runs on the loop, to its end. For one client, who waits for it anyway: without a switch of threads.

    No deadlock: no other task runs while work on the loop holds an exclusion. Work that stores run in a thread in any
    case, such as the end of a large upload, goes on while the loop blocks.
    """

    may_block_loop = True

    async def run(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        await trio.lowlevel.checkpoint_if_cancelled()
        return function(*arguments)

    async def run_fsyncs(self, work: Fsyncs[T]) -> T:
        await trio.lowlevel.checkpoint_if_cancelled()
        return run_blocking(work)


class Batched(DiskWork):
    """Fsyncs are batched across the stores of one client. Those stores share one object, each by `for_store`.

    Several tasks may be in `run_fsyncs` at the same time, one for each store. Each holds an exclusion of its store
    while it waits for the disk, and needs the loop to go on. So nothing on the loop may wait for that exclusion:

    - `run_fsyncs` of one store runs one piece of work at a time; tasks get their turns in the order in which they came.
    - `run` calls the function in a thread, because it may wait for an exclusion that a task holds.
    - Work that a store does on the loop itself tries the lock without waiting, and goes to a thread if it is taken.

    Work of one store never waits for an exclusion of another: do not open two stores in the same directory with it.
    All stores must be used in the same event loop.
    """

    may_block_loop = True

    def __init__(self) -> None:
        self._batch = FsyncBatch()
        self._one_at_a_time = trio.Lock()

    def for_store(self) -> Batched:
        other = Batched()
        other._batch = self._batch
        return other

    async def run(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        return await trio.to_thread.run_sync(function, *arguments)

    async def run_fsyncs(self, work: Fsyncs[T]) -> T:
        try:
            self._one_at_a_time.acquire_nowait()
        except trio.WouldBlock:
            await self._one_at_a_time.acquire()
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            return await self._batch.run(work)
        finally:
            self._one_at_a_time.release()


__all__ = ["Batched", "DiskWork", "InThreads", "Inline"]
