"""Transcripts played with a server at the other end of a stream.

The player is the client: it sends the transcript's client lines as they are, legal or not, and compares every byte
that comes back. What a transcript asks to be present is put there through the protocol itself, and what it left is
removed again, so any server will do. Keys are made so that no two playings share one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import trio

from p2pannex.testing.transcripts import Kind, Mismatch, Step, Transcript, Values, content

Open = Callable[[str], Awaitable[trio.abc.HalfCloseableStream]]
"""Opens a connection to a server in this access mode; before it sends anything the server is the one to speak."""

SHOWN = 12
"""Lines of the conversation that are shown before the one that went wrong."""


class Skipped(Exception):
    """The transcript cannot be played with this server; the message says why."""


class _Wire:
    """A connection to the server: lines and bytes, each wait bounded."""

    def __init__(self, stream: trio.abc.HalfCloseableStream, timeout: float) -> None:
        self.stream = stream
        self.timeout = timeout
        self.outbox = bytearray()
        self._received = bytearray()
        self._ended = False

    async def flush(self) -> None:
        data, self.outbox = self.outbox, bytearray()
        if data:
            try:
                with trio.fail_after(self.timeout):
                    await self.stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # it closed: what it said before is still to be read

    async def _more(self) -> bool:
        await self.flush()
        if self._ended:
            return False
        try:
            with trio.fail_after(self.timeout):
                data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            data = b""
        self._ended = not data
        self._received += data
        return not self._ended

    async def line(self) -> bytes:
        """The next line, line feed included; without one, what came before the end of the stream."""
        while (end := self._received.find(b"\n")) < 0:
            if not await self._more():
                return self._take(len(self._received))
        return self._take(end + 1)

    async def body(self, count: int) -> bytes:
        """That many bytes, or those that came before the end of the stream."""
        while len(self._received) < count and await self._more():
            pass
        return self._take(count)

    async def rest(self) -> bytes:
        """Everything up to the end of the stream."""
        while await self._more():
            pass
        return self._take(len(self._received))

    def _take(self, count: int) -> bytes:
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    async def end(self) -> None:
        """Send nothing more, and keep what still comes until the server closes."""
        await self.flush()
        await self.stream.send_eof()
        while await self._more():
            pass

    async def aclose(self) -> None:
        with trio.move_on_after(self.timeout, shield=True):
            await self.stream.aclose()


class Player:
    """Plays transcripts, one after the other, over connections that it opens and uses again.

    `run` sets this player's keys apart from all others'; `timeout`, in seconds, stands on every wait; `variant` says
    whose behaviour to expect where transcripts tell two. Call `aclose` at the end.
    """

    def __init__(self, open_stream: Open, *, run: str, timeout: float, variant: str = "p2pannex") -> None:
        self._open_stream = open_stream
        self._run = run
        self.timeout = timeout
        self.variant = variant
        self.uuid = ""
        """The server's, once it has greeted."""
        self._played = 0
        self._idle: dict[str, list[_Wire]] = {}

    async def play(self, transcript: Transcript, version: int) -> None:
        """Play it at this version. Mismatch where the server does something else, Skipped where it cannot."""
        self._played += 1
        values = Values(version, f"{self._run}p{self._played}", uuid=self.uuid)
        playing = _Playing(self, transcript, values)
        prepared = [values.key(content(text)) for text in transcript.present]
        try:
            for text in transcript.present:
                await self._put(values, content(text))
            for step in transcript.steps_for(version, self.variant):
                await playing.take(step)
            await playing.finish()
        except trio.TooSlowError:
            problem = f"nothing came for {self.timeout:g} s"
            raise Mismatch(playing.number, playing.shown(problem)) from None
        finally:
            await playing.aclose()
            with trio.move_on_after(self.timeout, shield=True):
                await self._remove([*prepared, *playing.put])

    async def wire(self, mode: str, *, fresh: bool) -> _Wire:
        """A connection: one that has greeted and is idle, or (`fresh`) one on which nothing was said yet."""
        if not fresh and self._idle.get(mode):
            return self._idle[mode].pop()
        with trio.fail_after(self.timeout):
            wire = _Wire(await self._open_stream(mode), self.timeout)
        if not fresh:
            greeting = await wire.line()
            if not greeting.startswith(b"AUTH-SUCCESS "):
                await wire.aclose()
                raise Mismatch(0, f"the server's first line should be AUTH-SUCCESS, it was {_text(greeting)}")
            self.uuid = greeting[13:].strip().decode("utf-8", "replace")
        return wire

    def give_back(self, mode: str, wire: _Wire) -> None:
        """The connection is idle: it may be used again."""
        self._idle.setdefault(mode, []).append(wire)

    async def _put(self, values: Values, data: bytes) -> None:
        """Store content, at version 0: what every server must be able to do."""
        wire = await self.wire("read-write", fresh=False)
        wire.outbox += b"VERSION 0\nPUT  %s\n" % values.key(data)
        answers = [await wire.line(), await wire.line()]
        if answers[1] == b"PUT-FROM 0\n":
            wire.outbox += b"DATA %d\n" % len(data) + data
            answers.append(await wire.line())
        if answers[1:] not in ([b"PUT-FROM 0\n", b"SUCCESS\n"], [b"ALREADY-HAVE\n"]):
            await wire.aclose()
            raise Mismatch(0, f"content could not be put there before it began: {_text(b''.join(answers))}")
        self.give_back("read-write", wire)

    async def _remove(self, keys: list[bytes]) -> None:
        """Remove what was stored, as far as the server lets us: locks may outlive their conversation."""
        for key in dict.fromkeys(keys):
            wire = await self.wire("read-write", fresh=False)
            wire.outbox += b"REMOVE %s\n" % key
            if (await wire.line()).endswith(b"\n"):
                self.give_back("read-write", wire)
            else:
                await wire.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        for wires in self._idle.values():
            for wire in wires:
                await wire.aclose()
        self._idle.clear()


class _Playing:
    """One transcript being played."""

    def __init__(self, player: Player, transcript: Transcript, values: Values) -> None:
        self.player = player
        self.transcript = transcript
        self.values = values
        self.number = 0
        self.put: list[bytes] = []
        self._wires: dict[int, _Wire] = {}
        self._last: dict[int, Step] = {}
        self._said: list[str] = []

    async def take(self, step: Step) -> None:
        self.number = step.number
        self._last[step.connection] = step
        for connection, other in self._wires.items():
            if connection != step.connection:
                await other.flush()
        wire = self._wires.get(step.connection) or await self._open(step.connection)
        match step.kind:
            case Kind.CLIENT_LINE:
                line = self.values.line(step.text)
                self._said.append(_shown(step, line))
                if line.startswith(b"PUT "):
                    self.put.append(line.split(b" ", 2)[-1].rstrip(b"\r\n"))
                wire.outbox += line
            case Kind.CLIENT_BODY:
                data = self.values.body(step.text)
                self._said.append(str(step))
                wire.outbox += data
            case Kind.SERVER_LINE:
                line = await wire.line()
                if not (line.endswith(b"\n") and self.values.matches(step.text, line[:-1])):
                    self._differs(step, _text(line))
                self._said.append(_shown(step, line))
            case Kind.SERVER_BODY:
                expected = self.values.body(step.text)
                data = await wire.body(len(expected))
                if data != expected:
                    self._differs(step, _text(data))
                self._said.append(str(step))
            case Kind.CLIENT_CLOSES:
                self._said.append(str(step))
                await wire.end()
            case Kind.SERVER_CLOSES:
                rest = await wire.rest()
                if rest:
                    self._differs(step, _text(rest))
                self._said.append(str(step))
            case Kind.STATE | Kind.BAD_SERVER_LINE:
                pass  # told to the bare protocol only

    async def _open(self, connection: int) -> _Wire:
        mode, spelled = self.transcript.mode, self.transcript.spelled
        self._wires[connection] = wire = await self.player.wire(mode, fresh=spelled)
        if not spelled:
            self.values.uuid = self.player.uuid
            offer = b"VERSION %d\n" % self.values.version
            wire.outbox += offer
            answer = await wire.line()
            if answer != offer:
                if answer.startswith((b"VERSION ", b"ERROR ")):
                    raise Skipped(f"the server does not speak version {self.values.version}")
                raise Mismatch(0, f"VERSION was answered with {_text(answer)}")
        return wire

    async def finish(self) -> None:
        """Every connection that is still open must be between requests, with nothing left unread."""
        for connection, step in self._last.items():
            wire = self._wires[connection]
            closing = step.kind in (Kind.CLIENT_CLOSES, Kind.SERVER_CLOSES)
            if closing or (step.kind is Kind.STATE and step.text != "IDLE"):
                continue
            self.number = step.number
            wire.outbox += b"CHECKPRESENT %s\n" % self.values.key(b"never stored")
            answer = await wire.line()
            if answer != b"FAILURE\n":
                problem = "it is not between requests: a last CHECKPRESENT of an absent key was answered with"
                raise Mismatch(step.number, self.shown(f"{problem} {_text(answer)}"))
            self.player.give_back(self.transcript.mode, wire)
            del self._wires[connection]

    def _differs(self, step: Step, found: str) -> None:
        raise Mismatch(step.number, self.shown(f"- {step}", f"+ {found}"))

    def shown(self, *lines: str) -> str:
        """The end of the conversation, then these lines."""
        return "\n".join(["  " + said for said in self._said[-SHOWN:]] + list(lines))

    async def aclose(self) -> None:
        for wire in self._wires.values():
            await wire.aclose()


def _text(data: bytes) -> str:
    if not data:
        return "(the server closed)"
    text = data[:200].decode("utf-8", "backslashreplace").removesuffix("\n")
    return repr(text)[1:-1] + ("…" if len(data) > 200 else "")


def _shown(step: Step, line: bytes) -> str:
    return str(step).removesuffix(step.text) + _text(line)


def cases(transcripts: list[Transcript], versions: frozenset[int]) -> Iterator[tuple[Transcript, int]]:
    """Each transcript at each of these versions at which it is true."""
    for transcript in transcripts:
        for version in sorted(transcript.versions & versions):
            yield transcript, version


__all__ = ["Open", "Player", "Skipped", "cases"]
