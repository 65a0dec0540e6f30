"""A stream to a child process, over its standard input and output.

The stream owns the process. Closing the stream closes the child's input, at which a server of this protocol exits. A
child that does not exit is terminated, then killed, and always reaped. If the child ends by itself, the error gives the
reason as far as it is known: "command not found" or "could not reach HOST" instead of "end of file".
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO

import trio

from p2pannex.child_environment import child_environment
from p2pannex.errors import ConnectionLost
from p2pannex.transports.descriptor import DescriptorStream
from p2pannex.transports.stderr_relay import StderrRelay

GRACE = 2.0
"""Seconds that a child has to exit after its input was closed, before it is terminated."""

INSIST = 1.0
"""Seconds between terminating and killing a child, and the longest wait for a killed child."""

TAIL = 2000
"""How many bytes, at most, from the end of a child's standard error are quoted in an error."""

KEPT = 1 << 20
"""When captured standard error has more bytes than this, it is emptied."""

COMMAND_NOT_FOUND = 127
"""The exit status by which shells, also through ssh, report that there is no such program."""


class ProcessEnded(ConnectionLost):
    """The child ended before the conversation did. `status` is as in ``subprocess``; None if it is not known."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(ProcessEnded):
    """The child could not reach the machine that it was to connect to. Trying again later may help."""


class ProcessStream(DescriptorStream):
    """Receives from a child's standard output and sends to its standard input. Created by `open_process`."""

    def __init__(
        self,
        process: trio.Process,
        read_fd: int,
        write_fd: int,
        *,
        describe: str,
        unreachable_status: int | None = None,
        errors: IO[bytes] | None = None,
        relay: StderrRelay | None = None,
    ) -> None:
        super().__init__(read_fd, write_fd)
        self.process = process
        self._describe = describe
        self._unreachable_status = unreachable_status
        self._errors = errors
        self._errors_read = 0
        self._relay = relay
        self._has_received = False

    async def receive_into(self, view: memoryview) -> int:
        count = await super().receive_into(view)
        await self._received(count)
        return count

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = await super().receive_some(max_bytes)
        await self._received(len(data))
        return data

    def receive_nowait(self) -> bytes | None:
        data = super().receive_nowait()
        if data:
            self._has_received = True
            self._limit_errors()
        return data

    def splice_nowait(self, target: object, count: int) -> int | None:
        moved = super().splice_nowait(target, count)
        if moved:
            self._has_received = True
            self._limit_errors()
        return moved

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await super().send_all(data)
        except trio.BrokenResourceError:
            await self._ended()
            raise

    async def send_file(self, source: int, offset: int, count: int) -> int:
        try:
            return await super().send_file(source, offset, count)
        except trio.BrokenResourceError:
            await self._ended()
            raise

    async def _received(self, count: int) -> None:
        if count:
            self._has_received = True
            self._limit_errors()
        else:
            await self._ended()

    async def _ended(self) -> None:
        """To be called at the end of the stream. Raises ProcessEnded with the reason, unless the end is normal: the
        child has sent bytes before, and has not failed."""
        with trio.move_on_after(GRACE):
            await self.process.wait()
        status = self.process.returncode
        if self._has_received and not status:
            return
        last_lines = self._last_lines()
        quote = f": {last_lines}" if last_lines else ""
        if status is not None and status == self._unreachable_status:
            raise Unreachable(f"could not reach {self._describe} (exit status {status}){quote}", status)
        raise ProcessEnded(f"{self._describe}: {_what_happened(status)}{quote}", status)

    def _limit_errors(self) -> None:
        """Limit the captured standard error on disk. The child appends to the file, so emptying it is safe."""
        if self._errors is not None and os.fstat(self._errors.fileno()).st_size > KEPT:
            os.ftruncate(self._errors.fileno(), 0)
            self._errors_read = 0

    def new_error_lines(self) -> list[str]:
        """The lines that were captured of its standard error since the last call; none if it is not captured."""
        if self._errors is None:
            return []
        data = os.pread(self._errors.fileno(), KEPT, self._errors_read)
        self._errors_read += len(data)
        return [line.strip() for line in data.decode(errors="replace").splitlines() if line.strip()]

    def _last_lines(self) -> str:
        if self._errors is None:
            return ""
        size = os.fstat(self._errors.fileno()).st_size
        tail = os.pread(self._errors.fileno(), TAIL, max(0, size - TAIL))
        lines = (line.strip() for line in tail.decode(errors="replace").splitlines())
        return "; ".join(line for line in lines if line)

    async def aclose(self) -> None:
        """Close the child's input and wait until the child has exited: a few seconds at most, also if cancelled."""
        self.close()
        with trio.CancelScope(shield=True):
            for seconds, insist in ((GRACE, self.process.terminate), (INSIST, self.process.kill), (INSIST, None)):
                with trio.move_on_after(seconds):
                    await self.process.wait()
                    break
                if insist is not None:
                    insist()
            if self._relay is not None:
                await self._relay.drain()
        if self._errors is not None:
            self._errors.close()
            self._errors = None
        await trio.lowlevel.checkpoint()


def _what_happened(status: int | None) -> str:
    if status is None:
        return "closed its output"
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = str(-status)
        return f"was killed by signal {name}"
    if status == COMMAND_NOT_FOUND:
        return f"command not found (exit status {status})"
    if status == 0:
        return "ended without a reply"
    return f"failed (exit status {status})"


async def open_process(
    argv: Sequence[str | bytes],
    *,
    env: Mapping[str, str] | None = None,
    describe: str | None = None,
    unreachable_status: int | None = None,
    capture_stderr: bool = False,
) -> ProcessStream:
    """Start a program. Returns the stream of its standard input and output, which the caller closes with ``aclose()``.

    `env` is the child's whole environment; that of this process if it is None. Tokens are taken out of it.
    `describe` is the program's name in errors; by default its file name. `unreachable_status` is the exit status by
    which the program reports that it could not connect (ssh's is 255).

    What the program writes to standard error is shown on that of this process, without characters that command a
    terminal. With `capture_stderr` nothing of that is shown, and its last lines are quoted in the error if the program
    fails. They are captured in an unlinked temporary file, not in a pipe, so that the program never has to wait until
    its output is read.

    ProcessEnded if the program cannot be started.
    """
    if describe is None:
        describe = os.path.basename(os.fsdecode(argv[0]))
    errors = _capture() if capture_stderr else None
    relay = None if capture_stderr else StderrRelay()
    fds: list[int] = []
    try:
        with contextlib.ExitStack() as ends_of_child:
            child_in, to_child = os.pipe()
            ends_of_child.callback(os.close, child_in)
            fds.append(to_child)
            from_child, child_out = os.pipe()
            ends_of_child.callback(os.close, child_out)
            fds.append(from_child)
            if relay is not None:
                ends_of_child.enter_context(relay)
            child_errors = errors if relay is None else relay.child_end
            process = await trio.lowlevel.open_process(
                list(argv), stdin=child_in, stdout=child_out, stderr=child_errors, env=child_environment(env)
            )
    except BaseException as error:
        for fd in fds:
            os.close(fd)
        if errors is not None:
            errors.close()
        if isinstance(error, FileNotFoundError):
            raise ProcessEnded(f"{describe}: command not found", None) from error
        if isinstance(error, OSError):
            raise ProcessEnded(f"{describe}: cannot be run: {error.strerror}", None) from error
        raise
    # No await between here and the start of the child: cancellation would leave a child that no stream owns.
    return ProcessStream(
        process,
        from_child,
        to_child,
        describe=describe,
        unreachable_status=unreachable_status,
        errors=errors,
        relay=relay,
    )


def _capture() -> IO[bytes]:
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the stream closes it
    fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)
    return file


__all__ = ["ProcessEnded", "ProcessStream", "Unreachable", "open_process"]
