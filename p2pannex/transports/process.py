"""A stream to a child process, over its standard input and output.

The stream owns the process. Closing it closes the child's input, which is how a server of this protocol is told to
go; one that stays is terminated, then killed, and always reaped. When the child ends by itself, the error says what
can be known about it: not "end of file", but "command not found" or "could not reach HOST".
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

from p2pannex.errors import ConnectionLost
from p2pannex.transports.descriptor import DescriptorStream

GRACE = 2.0
"""Seconds that a child has to exit after its input was closed, before it is terminated."""

INSIST = 1.0
"""Seconds between terminating and killing, and the longest that a killed child is waited for."""

TAIL = 2000
"""Bytes of a child's last words that an error quotes at most."""

KEPT = 1 << 20
"""Bytes of captured standard error above which what was said before is forgotten."""

COMMAND_NOT_FOUND = 127
"""The exit status by which shells, and ssh on their behalf, say that there is no such program."""


class ProcessEnded(ConnectionLost):
    """The child ended before the conversation did. `status` is as in ``subprocess``, None where it is not known."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(ProcessEnded):
    """The child could not reach the machine it was to connect to: trying again later may help."""


class ProcessStream(DescriptorStream):
    """The bytes of a child's standard output, and into its standard input. Made by `open_process`."""

    def __init__(
        self,
        process: trio.Process,
        read_fd: int,
        write_fd: int,
        *,
        describe: str,
        unreachable_status: int | None = None,
        errors: IO[bytes] | None = None,
    ) -> None:
        super().__init__(read_fd, write_fd)
        self.process = process
        self._describe = describe
        self._unreachable_status = unreachable_status
        self._errors = errors
        self._heard = False

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
            self._heard = True
            self._forget()
        return data

    def splice_nowait(self, target: object, count: int) -> int | None:
        moved = super().splice_nowait(target, count)
        if moved:
            self._heard = True
            self._forget()
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
            self._heard = True
            self._forget()
        else:
            await self._ended()

    async def _ended(self) -> None:
        """The stream has ended: ProcessEnded, unless that is a server's ordinary end of a conversation."""
        with trio.move_on_after(GRACE):
            await self.process.wait()
        status = self.process.returncode
        if self._heard and not status:
            return
        words = self._last_words()
        quote = f": {words}" if words else ""
        if status is not None and status == self._unreachable_status:
            raise Unreachable(f"could not reach {self._describe} (exit status {status}){quote}", status)
        raise ProcessEnded(f"{self._describe}: {_what_happened(status)}{quote}", status)

    def _forget(self) -> None:
        """Keep what a talkative child leaves on disk bounded. It appends, so that cutting does not confuse it."""
        if self._errors is not None and os.fstat(self._errors.fileno()).st_size > KEPT:
            os.ftruncate(self._errors.fileno(), 0)

    def _last_words(self) -> str:
        if self._errors is None:
            return ""
        size = os.fstat(self._errors.fileno()).st_size
        tail = os.pread(self._errors.fileno(), TAIL, max(0, size - TAIL))
        lines = (line.strip() for line in tail.decode(errors="replace").splitlines())
        return "; ".join(line for line in lines if line)

    async def aclose(self) -> None:
        """Close the child's input, and wait until the child is gone: a few seconds at most, also when cancelled."""
        self.close()
        with trio.CancelScope(shield=True):
            for seconds, insist in ((GRACE, self.process.terminate), (INSIST, self.process.kill), (INSIST, None)):
                with trio.move_on_after(seconds):
                    await self.process.wait()
                    break
                if insist is not None:
                    insist()
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
        return "ended without a word"
    return f"failed (exit status {status})"


async def open_process(
    argv: Sequence[str | bytes],
    *,
    env: Mapping[str, str] | None = None,
    describe: str | None = None,
    unreachable_status: int | None = None,
    capture_stderr: bool = False,
) -> ProcessStream:
    """Start a program; the stream of its standard input and output.

    `env` is the child's whole environment, ours where it is None. `describe` is what errors call the program, its name
    where it is None. `unreachable_status` is the exit status by which it says that it could not connect to where it
    should (ssh's is 255).

    What the program writes to standard error passes through to ours; with `capture_stderr` nothing of it is shown, and
    the last of it is quoted in the error when the program fails. It is captured in an unlinked temporary file, so that
    a talkative program never waits for us to read it.

    ProcessEnded where the program cannot be started. The caller closes the stream with ``aclose()``.
    """
    if describe is None:
        describe = os.path.basename(os.fsdecode(argv[0]))
    errors = _capture() if capture_stderr else None
    fds: list[int] = []
    try:
        with contextlib.ExitStack() as childs:
            child_in, to_child = os.pipe()
            childs.callback(os.close, child_in)
            fds.append(to_child)
            from_child, child_out = os.pipe()
            childs.callback(os.close, child_out)
            fds.append(from_child)
            process = await trio.lowlevel.open_process(
                list(argv), stdin=child_in, stdout=child_out, stderr=errors, env=env
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
    # Nothing awaits between the start of the child and the stream that owns it.
    return ProcessStream(
        process, from_child, to_child, describe=describe, unreachable_status=unreachable_status, errors=errors
    )


def _capture() -> IO[bytes]:
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the stream closes it
    fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)
    return file


__all__ = ["ProcessEnded", "ProcessStream", "Unreachable", "open_process"]
