"""The running processes of a special remote program: started when needed, and replaced when they fail.

A process handles one request at a time, so several processes run at once, up to a limit. If the program uses ASYNC,
there is only one process, and the limit is the number of its jobs.

Short requests have a limit of their own, so that CHECKPRESENT does not wait until a long upload has ended.

Each new process gets PREPARE before its first request. If the configuration is new or has changed, the first process
gets INITREMOTE before that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import trio

from p2pannex.errors import RemoteError
from p2pannex.stores.external import messages as messages
from p2pannex.stores.external.messages import Reply, Request
from p2pannex.stores.external.process import ProgramFailed
from p2pannex.stores.external.program import Job, Program
from p2pannex.stores.external.settings import Settings

SHORT_REQUESTS = 2
"""Requests without content that may run at once, in addition to the transfers."""

SLOWEST_TRANSFER = 100_000
"""Bytes a second: a program that reports no progress may be as slow as this."""

SLOWEST_STEP = 1_000_000
"""Bytes of the whole content for each of which a second may pass between two reports of progress. With a report at each
percent of the content, a program may be as slow as 10 kB a second."""


class ProgramPool:
    """Runs requests in the processes of a program.

    `timeout` and `transfer_timeout` are in seconds. `concurrency` is the number of transfers that may run at once.
    """

    def __init__(
        self,
        argv: Sequence[str],
        settings: Settings,
        *,
        describe: str,
        timeout: float,
        transfer_timeout: float,
        concurrency: int,
        cwd: bytes,
        environment: Mapping[str, str] | None = None,
        inform: Callable[[str], None] | None = None,
    ) -> None:
        self._argv = argv
        self._settings = settings
        self._describe = describe
        self._timeout = timeout
        self._transfer_timeout = transfer_timeout
        self._cwd = cwd
        self._environment = environment
        self._inform = inform
        self._transfers = trio.Semaphore(concurrency)
        self._short_requests = trio.Semaphore(SHORT_REQUESTS)
        self._starting = trio.Lock()
        self._programs: list[Program] = []
        self._closed = False

    async def run(
        self,
        request: Request,
        *,
        transfer: bool = False,
        size: int | None = None,
        progress: Callable[[int], None] | None = None,
        left: Callable[[], float] | None = None,
        uncancelled: bool = False,
    ) -> Reply | None:
        """Send a request to a process, and return the reply.

        transfer: whether the request moves content.
        size: the number of bytes that it moves; None if that is not known.
        progress: called with the number of bytes, each time that the program reports progress.
        left: called immediately before the request is sent; returns the seconds that are left for it. If there are
            none, the request is not sent, and the result is None.
        uncancelled: once the request is sent, cancellation waits for the reply, or the timeout.

        If a process that has served requests before has died since, the request is sent again to a new one. RemoteError
        if the request cannot be sent, or has failed.
        """
        slots = self._transfers if transfer else self._short_requests
        limit, stall = self._limits(size) if transfer else (self._timeout, self._timeout)
        await self._wait_for_slot(slots)
        try:
            while True:
                async with self._job() as (program, job):
                    has_served = program.served > 1  # the first reply was the one to PREPARE
                    timeout = limit if left is None else min(limit, left())
                    if timeout <= 0:
                        return None
                    try:
                        with trio.CancelScope(shield=uncancelled):
                            return await program.run(job, request, timeout, progress, stall=stall, size=size)
                    except ProgramFailed:
                        if not has_served or program.timed_out:
                            raise
                # The process has died. The loop ends: dead processes are not used again, and a new one has not served.
        finally:
            slots.release()

    def _limits(self, size: int | None) -> tuple[float, float]:
        """Seconds that a transfer may take until the program reports progress, and from one report to the next.

        A program that reports none must have time for the whole content. One that does reports it at each percent of
        the content or more often, and takes some time after the last report. Small content shows quickly that a program
        hangs, so that a cluster can go on with another node.
        """
        if size is None:
            return self._transfer_timeout, self._transfer_timeout
        limit = min(self._transfer_timeout, self._timeout + size / SLOWEST_TRANSFER)
        return limit, min(limit, self._timeout + size / SLOWEST_STEP)

    async def _wait_for_slot(self, slots: trio.Semaphore) -> None:
        with trio.move_on_after(self._transfer_timeout):
            await slots.acquire()
            return
        raise RemoteError(f"{self._describe}: too many requests are in progress; try again later")

    @asynccontextmanager
    async def _job(self) -> AsyncIterator[tuple[Program, Job]]:
        found = self._free()
        if found is None:
            async with self._starting:  # one at a time, so that a program that uses ASYNC is started only once
                found = self._free() or await self._start()
        program, job = found
        try:
            yield program, job
        finally:
            program.end(job)
            if not program.alive and not program.busy:
                if program in self._programs:
                    self._programs.remove(program)
                await program.aclose(0)

    def _free(self) -> tuple[Program, Job] | None:
        for program in self._programs:
            if program.alive and (program.uses_async or not program.busy):
                return program, program.begin()
        return None

    async def _start(self) -> tuple[Program, Job]:
        if self._closed:
            raise RemoteError(f"{self._describe}: the store is closed")
        await self._drop_dead()
        program = await Program.start(
            self._argv,
            self._settings,
            describe=self._describe,
            timeout=self._timeout,
            cwd=self._cwd,
            environment=self._environment,
            inform=self._inform,
        )
        try:
            job = program.begin()
            if not self._settings.initialised:
                reply = await program.run(job, messages.initialise(), self._timeout)
                self._expect(reply, b"INITREMOTE-SUCCESS", "cannot be set up")
                await trio.to_thread.run_sync(self._settings.save_config)
            reply = await program.run(job, messages.prepare(), self._timeout)
            self._expect(reply, b"PREPARE-SUCCESS", "is not ready")
        except BaseException:
            await program.aclose(0)
            raise
        program.served = 1
        self._programs.append(program)
        return program, job

    def _expect(self, reply: Reply, verb: bytes, problem: str) -> None:
        if reply.verb != verb:
            raise RemoteError(f"{self._describe} {problem}: {self._settings.redact(reply.reason)}")

    async def _drop_dead(self) -> None:
        dead = [program for program in self._programs if not program.alive and not program.busy]
        self._programs = [program for program in self._programs if program not in dead]
        for program in dead:
            await program.aclose(0)

    async def aclose(self) -> None:
        """Let all processes exit."""
        self._closed = True
        programs, self._programs = self._programs, []
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for program in programs:
                    nursery.start_soon(program.aclose)
