"""Conformance: every transcript played with a server that is given by its command line.

The command must speak the protocol on its standard input and output, from AUTH-SUCCESS on, as ``git-annex-shell
p2pstdio DIR UUID`` and ``p2pannex-shell p2pstdio DIR UUID`` do. It is started as often as is needed, two at a time
where a transcript needs two clients, always on the same repository. Content is put there and removed through the
protocol itself. Two kinds of thing may stay behind: content whose lock outlives its conversation, for the ten minutes
of its retention and until somebody removes it, and the beginnings of uploads that were left in the middle.
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

from p2pannex.testing.player import Player, Skipped, cases
from p2pannex.testing.transcripts import VARIANTS, Mismatch, Transcript, load_transcripts

MODES: Mapping[str, Mapping[str, str]] = {
    "read-write": {},
    "read-only": {"GIT_ANNEX_SHELL_READONLY": "1"},
    "append-only": {"GIT_ANNEX_SHELL_APPENDONLY": "1"},
}
"""The environment in which a server is to be in each access mode."""

EXIT_TIMEOUT = 5.0
"""Seconds for which a server may live on after its input has ended."""


@frozen
class Result:
    """What became of one transcript at one version."""

    transcript: str
    version: int
    title: str
    section: str
    """The section of protocol-spec that the transcript shows."""
    status: Literal["passed", "failed", "skipped"]
    line: int = 0
    """Where it failed: the line of the transcript, 0 for before its first."""
    problem: str = ""
    """Why it was skipped, or how it failed: the conversation's end, the line expected (-), the one that came (+)."""

    def as_json(self) -> dict[str, object]:
        """For `json.dumps`."""
        return asdict(self)

    def __str__(self) -> str:
        head = f"{self.status:7} {self.transcript} at version {self.version}: {self.title}"
        if self.status == "passed":
            return head
        return f"{head}\n" + "\n".join(f"        {line}" for line in self.problem.splitlines())


class _ServerStream(trio.abc.HalfCloseableStream):
    """A child's standard input and output. Closing it ends the child, and adds what it complained of to a list."""

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
    """Starts servers. `complaints` is what those that have ended wrote to their standard error."""

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
            env=self.environment | dict(MODES[mode]),
        )
        return _ServerStream(process, errors, self.complaints)


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

    names: only these transcripts. variant: `git-annex` to expect what git-annex does where p2pannex differs on
    purpose. modes: the access modes that the server takes from its environment (see `MODES`); transcripts of other
    modes are skipped. offers: what the server has of what some transcripts need (`files`, `waiting`; see
    protocol-spec/transcripts.md). timeout: seconds that each wait may take. environment: the server's, instead of
    this process's. transcripts: instead of those that come with the package. report: called with each result as it
    is known.

    OSError where the command cannot be started. A server that does not even greet makes every result `failed`.
    ValueError for a variant or a mode that does not exist.
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
        complaints = [f"a server said: {complaint}" for complaint in servers.complaints]
        return result("failed", mismatch.number, "\n".join([str(mismatch), *complaints]))
    return result("passed")


__all__ = ["MODES", "Result", "run_conformance"]
