"""The child process of a special remote program: bytes to it, bytes from it, and its end.

Its standard error goes to an unlinked file, the end of which is quoted where it fails. Once it has failed, it is of no
use any more, and every call says why. It is always reaped, with whatever processes it has started in its own session.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import trio

from p2pannex.errors import RemoteError
from p2pannex.stores.external.stderr import LastWords

GRACE = 2.0
"""Seconds that a program has to exit after its input was closed."""

LINGER = 0.5
"""Seconds that a program has to exit after it has closed its output, so that its exit status can be told."""

READ = 64 * 1024


class ProgramFailed(RemoteError):
    """The program has ended, hangs, or talks nonsense; another one of it may do better."""


class Process:
    """A running child process. Made by `start`; `kill` ends it at once, `aclose` lets it exit by itself.

    `describe` is what people call it. `redact` takes passwords out of what is said of it.
    """

    def __init__(
        self, process: trio.Process, errors: LastWords, *, describe: str, redact: Callable[[str], str]
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
        """Start the program. ProgramFailed where it cannot be run."""
        errors = LastWords()
        try:
            process = await trio.lowlevel.open_process(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors.fileno(),
                cwd=cwd,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            errors.close()
            raise ProgramFailed(f"{describe} cannot be run: {error.strerror}") from error
        except BaseException:
            errors.close()
            raise
        return cls(process, errors, describe=describe, redact=redact)

    @property
    def alive(self) -> bool:
        return self._failure is None and self._process.returncode is None

    @property
    def failed(self) -> bool:
        """Whether anybody has found out that it is of no use any more."""
        return self._failure is not None

    def raise_if_failed(self) -> None:
        if self._failure is not None:
            raise ProgramFailed(self._failure)

    async def send(self, data: bytes) -> None:
        """Write all of it, after what others are writing. Cancelled in the middle, the program is of no use."""
        async with self._writing:
            self.raise_if_failed()
            whole = False
            try:
                await self._stdin.send_all(data)
                whole = True
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise await self._ended() from None
            finally:
                if not whole and self._failure is None:
                    self.fail("a line to it was cut off")

    async def receive(self) -> bytes:
        """What it says next, at least a byte. It works again: what it complained of before is forgotten."""
        try:
            data = await self._stdout.receive_some(READ)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise await self._ended() from None
        if not data:
            raise await self._ended()
        self._errors.forget()
        return bytes(data)

    # Ending -----------------------------------------------------------------------------------------------------

    def fail(self, why: str) -> ProgramFailed:
        """Kill the program; the error that says why, and what it complained of."""
        if self._failure is None:
            words = self._errors.tail()
            said = f"{why} (it complained: {words})" if words else why
            self._failure = f"{self._describe}: {self._redact(said)}"
            self.kill()
        return ProgramFailed(self._failure)

    async def _ended(self) -> ProgramFailed:
        if self._failure is None:
            with trio.move_on_after(LINGER):
                await self._process.wait()
        status = self._process.returncode
        if status is None:
            return self.fail("it closed its output")
        return self.fail(f"it ended with exit status {status}" if status >= 0 else f"signal {-status} ended it")

    def kill(self) -> None:
        """End it, and what it has started, at once."""
        with suppress(ProcessLookupError, PermissionError):
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    async def aclose(self, grace: float = GRACE) -> None:
        """Close its input, wait `grace` seconds until it has exited, then kill it. Also when cancelled."""
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
