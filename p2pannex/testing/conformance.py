"""Conformance: plays every transcript with a server that a command line starts.

The command must speak the protocol on its standard input and output, from AUTH-SUCCESS on, as ``git-annex-shell
p2pstdio DIR UUID`` and ``p2pannex-shell p2pstdio DIR UUID`` do. It is started as often as needed, always on the same
repository, and twice at the same time if a transcript needs two clients. Content is stored and removed through the
protocol.

Two things may remain in the repository. Content whose lock outlives its conversation cannot be removed before the lock
expires after ten minutes, and is left for you to remove. Uploads that were stopped leave the bytes that had arrived.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import IO, Literal

import trio
from attrs import asdict, frozen

from p2pannex.child_environment import child_environment
from p2pannex.testing.player import Player, Skipped, cases
from p2pannex.testing.transcripts import VARIANTS, Mismatch, Transcript, load_transcripts

MODES: Mapping[str, Mapping[str, str]] = {
    "read-write": {},
    "read-only": {"GIT_ANNEX_SHELL_READONLY": "1"},
    "append-only": {"GIT_ANNEX_SHELL_APPENDONLY": "1"},
}
"""The environment variables that put a server in each access mode."""

EXIT_TIMEOUT = 5.0
"""Seconds that a server may take to exit after its input has ended."""


@frozen
class Result:
    """The result of one transcript at one version."""

    transcript: str
    version: int
    title: str
    section: str
    """The section of protocol-spec that the transcript shows."""
    status: Literal["passed", "failed", "skipped"]
    line: int = 0
    """The line of the transcript at which it failed; 0 if it failed before the first line."""
    problem: str = ""
    """Why it was skipped, or how it failed: the last lines of the conversation, the line expected (-), the line that
    came (+)."""

    def as_json(self) -> dict[str, object]:
        """For `json.dumps`."""
        return asdict(self)

    def __str__(self) -> str:
        head = f"{self.status:7} {self.transcript} at version {self.version}: {self.title}"
        if self.status == "passed":
            return head
        return f"{head}\n" + "\n".join(f"        {line}" for line in self.problem.splitlines())


class _ServerStream(trio.abc.HalfCloseableStream):
    """The standard input and output of a child process. Closing it ends the child, and adds what the child wrote to its
    standard error to `complaints`."""

    def __init__(self, process: trio.Process, errors: IO[bytes], complaints: list[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._errors = errors
        self._complaints = complaints
        self._stdin: trio.abc.SendStream = process.stdin
        self._stdout: trio.abc.ReceiveStream = process.stdout

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stdin.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stdin.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stdout.receive_some(max_bytes)

    async def send_eof(self) -> None:
        await self._stdin.aclose()

    async def aclose(self) -> None:
        try:
            await self._stdin.aclose()
            await self._stdout.aclose()
            with trio.move_on_after(EXIT_TIMEOUT):
                await self._process.wait()
        finally:
            if self._process.returncode is None:
                self._process.kill()
                with trio.CancelScope(shield=True):
                    await self._process.wait()
            if not self._errors.closed:
                self._errors.seek(0)
                complaint = self._errors.read()[-500:].decode("utf-8", "backslashreplace").strip()
                if complaint:
                    self._complaints.append(complaint)
                self._errors.close()


class _Servers:
    """Starts servers. `complaints` has what servers that have ended wrote to their standard error."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        mode_variables = {name for variables in MODES.values() for name in variables}
        self.argv = argv
        self.environment = {name: value for name, value in environment.items() if name not in mode_variables}
        self.complaints: list[str] = []

    async def open(self, mode: str) -> _ServerStream:
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the stream
        process = await trio.lowlevel.open_process(
            list(self.argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=child_environment(self.environment) | dict(MODES[mode]),
        )
        return _ServerStream(process, errors, self.complaints)


class NoAuthSuccess(Exception):
    """The command does not send AUTH-SUCCESS, so it is no server. The text has what it wrote to standard error."""


async def require_auth_success(argv: Sequence[str], timeout: float = 10.0) -> None:
    """Start the command once. NoAuthSuccess if its first line, which it has `timeout` seconds for, is not AUTH-SUCCESS.

    OSError if it cannot be started.
    """
    servers = _Servers(argv, os.environ)
    stream = await servers.open("read-write")
    received = b""
    try:
        with trio.move_on_after(timeout):
            while b"\n" not in received and len(received) < 4096 and (data := await stream.receive_some(4096)):
                received += data
    finally:
        await stream.aclose()
    if not received.startswith(b"AUTH-SUCCESS "):
        errors = servers.complaints[0] if servers.complaints else "nothing"
        raise NoAuthSuccess(f"the server did not send AUTH-SUCCESS; it wrote to standard error: {errors}")


async def run_conformance(
    argv: Sequence[str],
    *,
    versions: Collection[int] = range(5),
    names: Collection[str] | None = None,
    variant: str = "p2pannex",
    modes: Collection[str] = ("read-write",),
    offers: Collection[str] = (),
    timeout: float = 10.0,
    environment: Mapping[str, str] | None = None,
    transcripts: Sequence[Transcript] | None = None,
    report: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Play every transcript with the server that `argv` starts, at each of `versions`.

    - `names`: play only these transcripts.
    - `variant`: `git-annex` expects git-annex's behaviour where p2pannex differs on purpose.
    - `modes`: the access modes that the server takes from its environment (see `MODES`). Transcripts of other modes are
      skipped.
    - `offers`: the features of the server that only some transcripts need (`files`, `waiting`; see
      protocol-spec/transcripts.md). Transcripts that need others are skipped.
    - `timeout`: seconds that each wait may take.
    - `environment`: the server's environment, instead of this process's.
    - `transcripts`: transcripts to play, instead of those of the package.
    - `report`: called with each result as soon as it is known.

    OSError if the command cannot be started. ValueError for a variant or a mode that does not exist. If the server does
    not send AUTH-SUCCESS, every result is `failed`.
    """
    if variant not in VARIANTS or not set(modes) <= set(MODES):
        raise ValueError(f"the variants are {', '.join(VARIANTS)}, the modes {', '.join(MODES)}")
    chosen = [t for t in transcripts or load_transcripts() if names is None or t.name in names]
    servers = _Servers(argv, os.environ if environment is None else environment)
    player = Player(servers.open, run=secrets.token_hex(4), timeout=timeout, variant=variant)
    results = []
    try:
        for transcript, version in cases(chosen, frozenset(versions)):
            result = await _play(player, servers, transcript, version, frozenset(modes), frozenset(offers))
            results.append(result)
            if report is not None:
                report(result)
    finally:
        with trio.CancelScope(shield=True):
            await player.aclose()
    return results


async def _play(
    player: Player,
    servers: _Servers,
    transcript: Transcript,
    version: int,
    modes: frozenset[str],
    offers: frozenset[str],
) -> Result:
    def result(status: Literal["passed", "failed", "skipped"], line: int = 0, problem: str = "") -> Result:
        return Result(transcript.name, version, transcript.title, transcript.section, status, line, problem)

    if not transcript.needs <= offers:
        return result("skipped", problem=f"it needs: {', '.join(sorted(transcript.needs - offers))}")
    if transcript.mode not in modes:
        return result("skipped", problem=f"it needs a server in {transcript.mode} mode")
    servers.complaints.clear()
    try:
        await player.play(transcript, version)
    except Skipped as reason:
        return result("skipped", problem=str(reason))
    except Mismatch as mismatch:
        complaints = [f"the server's standard error: {complaint}" for complaint in servers.complaints]
        return result("failed", mismatch.number, "\n".join([str(mismatch), *complaints]))
    return result("passed")


__all__ = ["MODES", "NoAuthSuccess", "Result", "require_auth_success", "run_conformance"]
