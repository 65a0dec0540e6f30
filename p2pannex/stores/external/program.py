"""A special remote program that runs, and the requests that it works on.

There is no task in the background. Whoever waits for an answer reads the program's output; where it speaks ASYNC, and
several wait, one of them reads for all and hands each line to the job that it belongs to.

A program is trusted with nothing. Every wait has a deadline, lines are bounded, and after a line that should not have
come, a deadline that has passed, or a request that nobody waits for any more, it is killed: what it would still have
said would be taken for the answer to something else. The child process itself is in `external_process.py`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import trio

from p2pannex.stores.external import messages as messages
from p2pannex.stores.external.messages import BadLine, Lines, Reply, Request
from p2pannex.stores.external.process import GRACE, Process
from p2pannex.stores.external.settings import Settings


class Job:
    """One request at a time of a program; several of these at once where it speaks ASYNC."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.lines: deque[bytes] = deque()
        self.wake = trio.Event()


class Program:
    """A running program. Made by `start`; close it with `aclose`.

    served: requests that it has answered.
    speaks_async: whether it takes several jobs at once.
    retired: it is not asked for anything more; it may still be at work for others.
    timed_out: it has failed by taking too long.
    """

    def __init__(self, process: Process, settings: Settings, *, inform: Callable[[str], None] | None) -> None:
        self._process = process
        self._settings = settings
        self._inform = inform
        self._lines = Lines()
        self._jobs: dict[int, Job] = {}
        self._last_job = 0
        self._reading = False
        self.served = 0
        self.speaks_async = False
        self.retired = False
        self.timed_out = False

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        settings: Settings,
        *,
        describe: str,
        timeout: float,
        cwd: bytes,
        environment: Mapping[str, str] | None,
        inform: Callable[[str], None] | None,
    ) -> Program:
        """Start the program and agree with it on the protocol. ProgramFailed where that does not work."""
        process = await Process.start(argv, describe=describe, redact=settings.redact, cwd=cwd, environment=environment)
        program = cls(process, settings, inform=inform)
        try:
            job = program.begin()
            with program._deadline(timeout, "to greet"):
                await program._greet(job)
            program.end(job)
        except BaseException:
            await program.aclose(0)
            raise
        return program

    async def _greet(self, job: Job) -> None:
        verb, version = messages.words(await self._line(job), 2)
        if verb == b"ERROR":
            raise self._process.fail(messages.text(version))
        if verb != b"VERSION" or version not in messages.VERSIONS:
            raise self._process.fail(f"it began with {messages.text(verb + b' ' + version)!r}, not with VERSION 1 or 2")
        await self._send(job, [messages.EXTENSIONS])
        extensions = (await self._line(job)).split(b" ")
        if extensions[0] not in (b"EXTENSIONS", messages.UNSUPPORTED):
            raise self._process.fail(f"it answered EXTENSIONS with {messages.text(b' '.join(extensions))!r}")
        self.speaks_async = b"ASYNC" in extensions[1:]

    # Asking -----------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether it may be asked for something."""
        return self._process.alive and not self.retired

    @property
    def busy(self) -> bool:
        """Whether there are jobs that have not ended."""
        return bool(self._jobs)

    def begin(self) -> Job:
        """A job, to be given back with `end`."""
        self._last_job += 1
        job = self._jobs[self._last_job] = Job(self._last_job)
        return job

    def end(self, job: Job) -> None:
        """The job asks for nothing more."""
        self._jobs.pop(job.number, None)

    async def ask(
        self,
        job: Job,
        request: Request,
        timeout: float,
        progress: Callable[[int], None] | None = None,
    ) -> Reply:
        """Ask for one thing, and answer what the program asks meanwhile.

        `timeout`, in seconds, is how long it may take; where it tells its progress, how long until it gets further.
        ProgramFailed where it does not answer, after which the program is of no use. Cancelled, it is of no use either.
        """
        reached = 0
        answered = False
        try:
            with self._deadline(timeout, f"to answer {request.verb}") as scope:
                await self._send(job, [request.line])
                while True:
                    line = await self._line(job)
                    verb, _, rest = line.partition(b" ")
                    if verb == b"PROGRESS":
                        count = messages.number(rest)
                        if count > reached:
                            reached = count
                            scope.deadline = trio.current_time() + timeout
                            if progress is not None:
                                progress(count)
                        continue
                    reply = request.reply(line)
                    if reply is not None:
                        self.served += 1
                        answered = True
                        return reply
                    await self._serve(job, verb, rest, line)
        except BadLine as problem:
            raise self._process.fail(str(problem)) from None
        finally:
            if not answered and not self._process.failed:
                # Nobody will take the answer, which may come at any time. Jobs of others may end before it is closed.
                self.retired = True

    async def _serve(self, job: Job, verb: bytes, rest: bytes, line: bytes) -> None:
        if verb == b"ERROR":
            raise self._process.fail(messages.text(rest))
        if verb in (b"DEBUG", b"INFO"):
            if verb == b"INFO" and self._inform is not None:
                self._inform(self._settings.redact(messages.text(rest)))
            return
        try:
            if verb.startswith(b"SET"):
                answer = await trio.to_thread.run_sync(self._settings.answer, line)
            else:
                answer = self._settings.answer(line)
        except OSError as error:
            raise self._process.fail(f"its settings cannot be kept: {error.strerror}") from error
        if answer is None:
            raise BadLine(f"it sent {messages.text(verb)!r}, which is no message of this protocol")
        await self._send(job, answer)

    def _deadline(self, timeout: float, doing: str) -> _Deadline:
        return _Deadline(self, timeout, doing)

    # Lines ------------------------------------------------------------------------------------------------------

    async def _send(self, job: Job, lines: Sequence[bytes]) -> None:
        head = b"J %d " % job.number if self.speaks_async else b""
        data = b"".join([head + line + b"\n" for line in lines])
        if data:
            await self._process.send(data)

    async def _line(self, job: Job) -> bytes:
        while not job.lines:
            if self._reading:
                await job.wake.wait()
                job.wake = trio.Event()
                continue
            self._process.raise_if_failed()
            self._reading = True
            try:
                await self._read(job)
            finally:
                self._reading = False
                for other in self._jobs.values():
                    if other is not job:
                        other.wake.set()  # one of them reads on
        return job.lines.popleft()

    async def _read(self, job: Job) -> None:
        """Hand out lines until there is one for this job."""
        while not job.lines:
            try:
                line = self._lines.next()
                if line is None:
                    self._lines.feed(await self._process.receive())
                else:
                    self._dispatch(job, line)
            except BadLine as problem:
                raise self._process.fail(str(problem)) from None

    def _dispatch(self, job: Job, line: bytes) -> None:
        if not self.speaks_async:
            job.lines.append(line)
            return
        number, rest = messages.split_job(line)
        if not number:
            verb, said = messages.words(line, 2)
            if verb == b"ERROR":
                raise self._process.fail(messages.text(said))
            raise BadLine(f"it sent {messages.text(line)!r}, which is of no job")
        owner = self._jobs.get(number)
        if owner is not None:  # nobody waits for the others any more
            owner.lines.append(rest)
            owner.wake.set()

    async def aclose(self, grace: float = GRACE) -> None:
        """Close its input, wait `grace` seconds until it has exited, then kill it. Also when cancelled."""
        await self._process.aclose(grace)


class _Deadline:
    """A block that the program must get through in time; it is killed where it does not."""

    def __init__(self, program: Program, timeout: float, doing: str) -> None:
        self._program = program
        self._doing = doing
        self._timeout = timeout
        self._scope = trio.CancelScope()

    def __enter__(self) -> trio.CancelScope:
        self._scope.deadline = trio.current_time() + self._timeout if self._timeout < math.inf else math.inf
        return self._scope.__enter__()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._scope.__exit__(kind, error, trace)  # type: ignore[arg-type]
        if self._scope.cancelled_caught:
            self._program.timed_out = True
            raise self._program._process.fail(f"it takes longer than {self._timeout:g} s {self._doing}")
