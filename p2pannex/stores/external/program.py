"""A running special remote program, and the requests that it works on.

There is no background task: the task that waits for a reply reads the program's output. If the program uses ASYNC and
several tasks wait, one of them reads for all, and passes each line to the job that the line belongs to.

The program is not trusted. Every wait has a deadline, and the length of lines is limited. The process is killed if it
sends an invalid line or misses a deadline. If a request is cancelled, the process gets no more requests, and is closed
when its other jobs have ended. Otherwise a late reply could be taken for the reply to another request.

`process.py` has the child process itself.
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
    """A sequence of requests to a program, one at a time. A program that uses ASYNC may have several jobs at once."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.lines: deque[bytes] = deque()
        self.wake = trio.Event()


class Program:
    """A running program. Made by `start`; the caller must close it with `aclose`.

    served: the number of requests that it has replied to.
    uses_async: whether it handles several jobs at once.
    retired: it gets no new jobs; its other jobs may go on.
    timed_out: it has failed because a deadline passed.
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
        self.uses_async = False
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
        """Start the program and negotiate the protocol version and extensions. ProgramFailed if that fails."""
        process = await Process.start(argv, describe=describe, redact=settings.redact, cwd=cwd, environment=environment)
        program = cls(process, settings, inform=inform)
        try:
            job = program.begin()
            with program._deadline(timeout, "to start"):
                await program._handshake(job)
            program.end(job)
        except BaseException:
            await program.aclose(0)
            raise
        return program

    async def _handshake(self, job: Job) -> None:
        verb, version = messages.words(await self._line(job), 2)
        if verb == b"ERROR":
            raise self._process.fail(messages.text(version))
        if verb != b"VERSION" or version not in messages.VERSIONS:
            raise self._process.fail(f"it began with {messages.text(verb + b' ' + version)!r}, not with VERSION 1 or 2")
        await self._send(job, [messages.EXTENSIONS])
        extensions = (await self._line(job)).split(b" ")
        if extensions[0] not in (b"EXTENSIONS", messages.UNSUPPORTED):
            raise self._process.fail(f"it replied to EXTENSIONS with {messages.text(b' '.join(extensions))!r}")
        self.uses_async = b"ASYNC" in extensions[1:]

    # Requests ---------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether it can take requests."""
        return self._process.alive and not self.retired

    @property
    def busy(self) -> bool:
        """Whether it has jobs that have not ended."""
        return bool(self._jobs)

    def begin(self) -> Job:
        """A new job. The caller must call `end` with it."""
        self._last_job += 1
        job = self._jobs[self._last_job] = Job(self._last_job)
        return job

    def end(self, job: Job) -> None:
        """End a job: it makes no more requests."""
        self._jobs.pop(job.number, None)

    async def run(
        self,
        job: Job,
        request: Request,
        timeout: float,
        progress: Callable[[int], None] | None = None,
        *,
        stall: float | None = None,
        size: int | None = None,
    ) -> Reply:
        """Send a request and return the reply. Meanwhile, reply to the program's own requests.

        timeout: seconds until the reply, or until the program reports that it has moved bytes.
        progress: called with the number of bytes moved, when that is more than before.
        stall: seconds until the reply after such a report, or until the next one; `timeout` if None.
        size: the most bytes that it can move. Reports of more change nothing.

        ProgramFailed if there is no valid reply in time. After that, and after cancellation, the program gets no more
        requests.
        """
        reached = 0
        completed = False
        try:
            with self._deadline(timeout, f"to reply to {request.verb}") as scope:
                await self._send(job, [request.line])
                while True:
                    line = await self._line(job)
                    verb, _, rest = line.partition(b" ")
                    if verb == b"PROGRESS":
                        count = messages.number(rest)
                        if reached < count and (size is None or count <= size):
                            reached = count
                            scope.deadline = trio.current_time() + (timeout if stall is None else stall)
                            if progress is not None:
                                progress(count)
                        continue
                    reply = request.reply(line)
                    if reply is not None:
                        self.served += 1
                        completed = True
                        return reply
                    await self._serve(job, verb, rest, line)
        except BadLine as problem:
            raise self._process.fail(str(problem)) from None
        finally:
            if not completed and not self._process.failed:
                # The task was cancelled, and the reply may still come. Other jobs may end before the process is closed.
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
                reply = await trio.to_thread.run_sync(self._settings.handle, line)
            else:
                reply = self._settings.handle(line)
        except OSError as error:
            raise self._process.fail(f"its settings cannot be saved: {error.strerror}") from error
        if reply is None:
            raise BadLine(f"it sent {messages.text(verb)!r}, which is not a message of this protocol")
        await self._send(job, reply)

    def _deadline(self, timeout: float, doing: str) -> _Deadline:
        return _Deadline(self, timeout, doing)

    # Lines ------------------------------------------------------------------------------------------------------

    async def _send(self, job: Job, lines: Sequence[bytes]) -> None:
        head = b"J %d " % job.number if self.uses_async else b""
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
                        other.wake.set()  # so that one of them takes over the reading
        return job.lines.popleft()

    async def _read(self, job: Job) -> None:
        """Receive lines, and pass them to their jobs, until there is one for this job."""
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
        if not self.uses_async:
            job.lines.append(line)
            return
        number, rest = messages.split_job(line)
        if not number:
            verb, reason = messages.words(line, 2)
            if verb == b"ERROR":
                raise self._process.fail(messages.text(reason))
            raise BadLine(f"it sent {messages.text(line)!r}, which belongs to no job")
        owner = self._jobs.get(number)
        if owner is not None:  # otherwise the job has ended, and its late lines are dropped
            owner.lines.append(rest)
            owner.wake.set()

    async def aclose(self, grace: float = GRACE) -> None:
        """Close its input, wait up to `grace` seconds for it to exit, then kill it. Cancellation does not stop this."""
        await self._process.aclose(grace)


class _Deadline:
    """A block with a time limit for the program. If it is exceeded, the program is killed, and ProgramFailed raised."""

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
            raise self._program._process.fail(f"it took longer than {self._timeout:g} s {self._doing}")
