"""The running copies of a special remote program, started when they are needed and replaced when they fail.

A program does one thing at a time, so several of it run at once, up to a limit; one that speaks ASYNC runs once, with
as many jobs. Short questions have places of their own: whether a content is present need not wait until an hour's
upload has ended. Before a program is used for the first time it is prepared, and the very first one of a
configuration is told to initialise the remote.
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

QUESTIONS = 2
"""Short questions at once, besides the transfers."""


class Programs:
    """Where requests go. `timeout` and `transfer_timeout` are in seconds, `concurrency` counts transfers at once."""

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
        self._questions = trio.Semaphore(QUESTIONS)
        self._starting = trio.Lock()
        self._programs: list[Program] = []
        self._closed = False

    async def ask(
        self,
        request: Request,
        *,
        transfer: bool = False,
        progress: Callable[[int], None] | None = None,
        left: Callable[[], float] | None = None,
        uncancelled: bool = False,
    ) -> Reply | None:
        """Have a program do it: its reply.

        `left` is asked immediately before the request is sent how many seconds are left for it; where there are none,
        nothing is sent, and the answer is None. Once sent, an `uncancelled` request is waited for,
        as long as it may take. A program that had served before, and has died since, is replaced once.
        """
        places = self._transfers if transfer else self._questions
        limit = self._transfer_timeout if transfer else self._timeout
        await self._wait_for_place(places)
        try:
            while True:
                async with self._job() as (program, job):
                    seasoned = program.served > 1  # the first is PREPARE's
                    timeout = limit if left is None else min(limit, left())
                    if timeout <= 0:
                        return None
                    try:
                        with trio.CancelScope(shield=uncancelled):
                            return await program.ask(job, request, timeout, progress)
                    except ProgramFailed:
                        if not seasoned or program.timed_out:
                            raise
                # It has died. Those that died with it are not alive, and a new one is not seasoned: this ends.
        finally:
            places.release()

    async def _wait_for_place(self, places: trio.Semaphore) -> None:
        with trio.move_on_after(self._transfer_timeout):
            await places.acquire()
            return
        raise RemoteError(f"{self._describe}: too many requests are being worked on; try again later")

    @asynccontextmanager
    async def _job(self) -> AsyncIterator[tuple[Program, Job]]:
        found = self._free()
        if found is None:
            async with self._starting:  # so that the first to speak ASYNC is the only one
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
            if program.alive and (program.speaks_async or not program.busy):
                return program, program.begin()
        return None

    async def _start(self) -> tuple[Program, Job]:
        if self._closed:
            raise RemoteError(f"{self._describe}: it is closed")
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
                reply = await program.ask(job, messages.initialise(), self._timeout)
                self._expect(reply, b"INITREMOTE-SUCCESS", "cannot be set up")
                await trio.to_thread.run_sync(self._settings.save_config)
            reply = await program.ask(job, messages.prepare(), self._timeout)
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
        """Let every program exit."""
        self._closed = True
        programs, self._programs = self._programs, []
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for program in programs:
                    nursery.start_soon(program.aclose)
