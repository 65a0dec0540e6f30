"""The child process of a special remote program: its start, its input and output, and its end.

Its standard error goes to an unlinked file. If the process fails, the error quotes the end of that file. A process that
has failed is killed, and every later call raises the same error.

Killing it also kills the other processes of its process group. The child is always reaped.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import trio

from p2pannex.child_environment import child_environment
from p2pannex.errors import RemoteError
from p2pannex.stores.external.stderr import StderrFile

GRACE = 2.0
"""Seconds that a program has to exit after its input was closed, before it is killed."""

LINGER = 0.5
"""Seconds to wait for a program to exit after it has closed its output, so that an error can state its exit status."""

READ = 64 * 1024


class ProgramFailed(RemoteError):
    """The program has ended, hangs, or violates the protocol. A new process of it may work."""


class Process:
    """A running child process. Made by `start`; `kill` ends it at once, `aclose` lets it exit by itself.

    `describe` is its name in error messages. `redact` removes passwords from these.
    """

    def __init__(
        self, process: trio.Process, errors: StderrFile, *, describe: str, redact: Callable[[str], str]
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin: trio.abc.SendStream = process.stdin
        self._stdout: trio.abc.ReceiveStream = process.stdout
        self._errors = errors
        self._describe = describe
        self._redact = redact
        self._writing = trio.Lock()
        self._failure: str | None = None

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        *,
        describe: str,
        redact: Callable[[str], str],
        cwd: bytes,
        environment: Mapping[str, str] | None,
    ) -> Process:
        """Start the program. ProgramFailed if it cannot be run."""
        errors = StderrFile()
        try:
            process = await trio.lowlevel.open_process(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors.fileno(),
                cwd=cwd,
                env=child_environment(environment),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL in its name or arguments
            errors.close()
            cause = error.strerror if isinstance(error, OSError) else error
            raise ProgramFailed(f"{describe} cannot be run: {cause}") from error
        except BaseException:
            errors.close()
            raise
        return cls(process, errors, describe=describe, redact=redact)

    @property
    def alive(self) -> bool:
        return self._failure is None and self._process.returncode is None

    @property
    def failed(self) -> bool:
        """Whether a failure was detected, so that the process cannot be used any more."""
        return self._failure is not None

    def raise_if_failed(self) -> None:
        if self._failure is not None:
            raise ProgramFailed(self._failure)

    async def send(self, data: bytes) -> None:
        """Write all of `data`, after the data of other tasks. Cancellation while it writes makes the process fail."""
        async with self._writing:
            self.raise_if_failed()
            complete = False
            try:
                await self._stdin.send_all(data)
                complete = True
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise await self._ended() from None
            finally:
                if not complete and self._failure is None:
                    self.fail("a line to it was cut off")

    async def receive(self) -> bytes:
        """The next bytes of its output, at least one. ProgramFailed if it has ended or closed its output.

        Since it works, a standard error file that has become large is emptied.
        """
        try:
            data = await self._stdout.receive_some(READ)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise await self._ended() from None
        if not data:
            raise await self._ended()
        self._errors.limit()
        return bytes(data)

    # Ending -----------------------------------------------------------------------------------------------------

    def fail(self, why: str) -> ProgramFailed:
        """Kill the program. Returns the error to raise: `why`, and the end of its standard error."""
        if self._failure is None:
            errors = self._errors.tail()
            problem = f"{why} (standard error: {errors})" if errors else why
            self._failure = f"{self._describe}: {self._redact(problem)}"
            self.kill()
        return ProgramFailed(self._failure)

    async def _ended(self) -> ProgramFailed:
        if self._failure is None:
            with trio.move_on_after(LINGER):
                await self._process.wait()
        status = self._process.returncode
        if status is None:
            return self.fail("it closed its output")
        return self.fail(f"it ended with exit status {status}" if status >= 0 else f"it was ended by signal {-status}")

    def kill(self) -> None:
        """Kill the process, and the processes that it has started, with SIGKILL."""
        with suppress(ProcessLookupError, PermissionError):
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    async def aclose(self, grace: float = GRACE) -> None:
        """Close its input, wait up to `grace` seconds for it to exit, then kill it. Cancellation does not stop this."""
        if self._failure is None:
            self._failure = f"{self._describe}: it was stopped"
        with trio.CancelScope(shield=True):
            await self._stdin.aclose()
            with trio.move_on_after(grace):
                await self._process.wait()
            self.kill()
            with trio.move_on_after(GRACE):
                await self._process.wait()
            await self._stdout.aclose()
        self._errors.close()


__all__ = ["GRACE", "Process", "ProgramFailed"]
