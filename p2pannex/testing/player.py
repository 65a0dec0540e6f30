"""Plays transcripts with a server at the other end of a stream.

The player is the client. It sends the transcript's client lines unchanged, valid or not, and compares every byte of the
replies. Through the protocol it also stores the content that a transcript requires, and removes what the transcript
left, so it works with any server. Each run uses keys of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import trio

from p2pannex.testing.transcripts import Kind, Mismatch, Step, Transcript, Values, content

Open = Callable[[str], Awaitable[trio.abc.HalfCloseableStream]]
"""Opens a new connection to a server in this access mode, on which nothing was sent or received yet."""

SHOWN = 12
"""How many lines of the conversation are shown before the one that differs."""


class Skipped(Exception):
    """The transcript cannot be played with this server; the message says why."""


class _Wire:
    """A connection to the server, which reads lines and bytes. Each wait takes at most `timeout` seconds."""

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
                pass  # the server closed; what it sent before that is still to be read

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
        """The next line, with its line feed. At the end of the stream, what came since the last line feed."""
        while (end := self._received.find(b"\n")) < 0:
            if not await self._more():
                return self._take(len(self._received))
        return self._take(end + 1)

    async def body(self, count: int) -> bytes:
        """The next `count` bytes, or fewer if the stream ends."""
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
        """Send an end of stream, and collect what the server sends until it closes."""
        await self.flush()
        await self.stream.send_eof()
        while await self._more():
            pass

    async def aclose(self) -> None:
        with trio.move_on_after(self.timeout, shield=True):
            await self.stream.aclose()


class Player:
    """Plays transcripts, one after the other, over connections that it opens and uses again.

    `run` makes this player's keys different from those of all others. `timeout` limits every wait, in seconds.
    `variant` is the behaviour to expect where a transcript has two. Call `aclose` at the end.
    """

    def __init__(self, open_stream: Open, *, run: str, timeout: float, variant: str = "p2pannex") -> None:
        self._open_stream = open_stream
        self._run = run
        self.timeout = timeout
        self.variant = variant
        self.uuid = ""
        """The server's UUID, from its AUTH-SUCCESS."""
        self._played = 0
        self._idle: dict[str, list[_Wire]] = {}

    async def play(self, transcript: Transcript, version: int) -> None:
        """Play a transcript at this version. Mismatch if the server behaves differently, Skipped if it does not support
        the version."""
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
        """A connection that is idle after AUTH-SUCCESS, or with `fresh` one on which nothing was sent or received."""
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
        """Keep an idle connection for later transcripts."""
        self._idle.setdefault(mode, []).append(wire)

    async def _put(self, values: Values, data: bytes) -> None:
        """Store content, at version 0, which every server supports."""
        wire = await self.wire("read-write", fresh=False)
        wire.outbox += b"VERSION 0\nPUT  %s\n" % values.key(data)
        replies = [await wire.line(), await wire.line()]
        if replies[1] == b"PUT-FROM 0\n":
            wire.outbox += b"DATA %d\n" % len(data) + data
            replies.append(await wire.line())
        if replies[1:] not in ([b"PUT-FROM 0\n", b"SUCCESS\n"], [b"ALREADY-HAVE\n"]):
            await wire.aclose()
            raise Mismatch(0, f"the content that the transcript requires was not stored: {_text(b''.join(replies))}")
        self.give_back("read-write", wire)

    async def _remove(self, keys: list[bytes]) -> None:
        """Remove what was stored, as far as the server allows it: locks may outlive their conversation."""
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
    """One transcript that is being played."""

    def __init__(self, player: Player, transcript: Transcript, values: Values) -> None:
        self.player = player
        self.transcript = transcript
        self.values = values
        self.number = 0
        self.put: list[bytes] = []
        self._wires: dict[int, _Wire] = {}
        self._last: dict[int, Step] = {}
        self._conversation: list[str] = []

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
                self._conversation.append(_shown(step, line))
                if line.startswith(b"PUT "):
                    self.put.append(line.split(b" ", 2)[-1].rstrip(b"\r\n"))
                wire.outbox += line
            case Kind.CLIENT_BODY:
                data = self.values.body(step.text)
                self._conversation.append(str(step))
                wire.outbox += data
            case Kind.SERVER_LINE:
                line = await wire.line()
                if not (line.endswith(b"\n") and self.values.matches(step.text, line[:-1])):
                    self._differs(step, _text(line))
                self._conversation.append(_shown(step, line))
            case Kind.SERVER_BODY:
                expected = self.values.body(step.text)
                data = await wire.body(len(expected))
                if data != expected:
                    self._differs(step, _text(data))
                self._conversation.append(str(step))
            case Kind.CLIENT_CLOSES:
                self._conversation.append(str(step))
                await wire.end()
            case Kind.SERVER_CLOSES:
                rest = await wire.rest()
                if rest:
                    self._differs(step, _text(rest))
                self._conversation.append(str(step))
            case Kind.STATE | Kind.BAD_SERVER_LINE:
                pass  # only for `replay`

    async def _open(self, connection: int) -> _Wire:
        mode, spelled = self.transcript.mode, self.transcript.spelled
        self._wires[connection] = wire = await self.player.wire(mode, fresh=spelled)
        if not spelled:
            self.values.uuid = self.player.uuid
            offer = b"VERSION %d\n" % self.values.version
            wire.outbox += offer
            reply = await wire.line()
            if reply != offer:
                if reply.startswith((b"VERSION ", b"ERROR ")):
                    raise Skipped(f"the server does not support version {self.values.version}")
                raise Mismatch(0, f"the reply to VERSION was {_text(reply)}")
        return wire

    async def finish(self) -> None:
        """Check that every connection that is still open is between requests, and that no more bytes have come."""
        for connection, step in self._last.items():
            wire = self._wires[connection]
            closing = step.kind in (Kind.CLIENT_CLOSES, Kind.SERVER_CLOSES)
            if closing or (step.kind is Kind.STATE and step.text != "IDLE"):
                continue
            self.number = step.number
            wire.outbox += b"CHECKPRESENT %s\n" % self.values.key(b"never stored")
            reply = await wire.line()
            if reply != b"FAILURE\n":
                problem = "the server is not between requests: a last CHECKPRESENT of an absent key got the reply"
                raise Mismatch(step.number, self.shown(f"{problem} {_text(reply)}"))
            self.player.give_back(self.transcript.mode, wire)
            del self._wires[connection]

    def _differs(self, step: Step, found: str) -> None:
        raise Mismatch(step.number, self.shown(f"- {step}", f"+ {found}"))

    def shown(self, *lines: str) -> str:
        """The last lines of the conversation, followed by `lines`."""
        return "\n".join(["  " + line for line in self._conversation[-SHOWN:]] + list(lines))

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
    """Each transcript at each of `versions` that it is for."""
    for transcript in transcripts:
        for version in sorted(transcript.versions & versions):
            yield transcript, version


__all__ = ["Open", "Player", "Skipped", "cases"]
