"""Reads transcripts: conversations as text, for people to read and for programs to run.

They are in protocol-spec/transcripts; protocol-spec/transcripts.md describes the format. One of them looks like this::

    # Content that is there is not sent again.
    section 9
    versions 0-4
    present hello

    C: PUT  {key:hello}
    S: ALREADY-HAVE

`replay` checks them against the protocol rules, `player` plays them with a server at the other end of a stream, and
`conformance` plays them with a server that a command line starts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from attrs import field, frozen

from p2pannex.protocol.messages import LATEST_VERSION

LINE = b"\n"
VARIANTS = ("p2pannex", "git-annex")
"""The implementations whose behaviour a transcript shows, where the two differ on purpose
(protocol-spec/deviations.md)."""


class BadTranscript(ValueError):
    """The text is not a transcript; the message says where and why."""


class Mismatch(Exception):
    """A conversation differs from its transcript. `number` is the line of the transcript."""

    def __init__(self, number: int, problem: str) -> None:
        super().__init__(problem)
        self.number = number


class Kind(Enum):
    """The kinds of steps."""

    CLIENT_LINE = "C:"
    CLIENT_BODY = "C="
    SERVER_LINE = "S:"
    SERVER_BODY = "S="
    BAD_SERVER_LINE = "S!"
    CLIENT_CLOSES = "client closes"
    SERVER_CLOSES = "server closes"
    STATE = "state"


@frozen
class Step:
    """One line of a transcript. `text` still contains its placeholders."""

    number: int
    kind: Kind
    connection: int
    text: str
    versions: frozenset[int]
    variants: frozenset[str]

    def __str__(self) -> str:
        other = f"{self.connection}" if self.connection > 1 else ""
        if self.kind in (Kind.CLIENT_CLOSES, Kind.SERVER_CLOSES):
            side, closes = self.kind.value.split()
            return " ".join(filter(None, [side, other, closes]))
        return f"{self.kind.value[0]}{other}{self.kind.value[1]} {self.text}".rstrip()


@frozen
class Transcript:
    """A conversation, and what it requires before it begins."""

    name: str
    title: str
    section: str
    """The section of protocol-spec that it shows."""
    versions: frozenset[int]
    """The protocol versions that it is for."""
    steps: tuple[Step, ...]
    mode: str = "read-write"
    """The access mode of the server."""
    present: tuple[str, ...] = ()
    """The contents that the server has."""
    needs: frozenset[str] = field(factory=frozenset)
    """Features that not every server has: `files`, `waiting`, `gateway`, `git`, `socket`, `other server`."""
    spelled: bool = False
    """True if the steps begin with the server's AUTH-SUCCESS; otherwise AUTH-SUCCESS and VERSION come before them."""
    differs: tuple[str, ...] = ()
    """The rows of deviations.md that it shows."""

    def steps_for(self, version: int, variant: str) -> list[Step]:
        """The steps for a protocol version and a variant."""
        return [step for step in self.steps if version in step.versions and variant in step.variants]


_STEP = re.compile(r"(?:\[(?P<when>[^]]*)\] *)?(?P<side>[CS])(?P<connection>\d*)(?P<kind>[:=!])(?: (?P<text>.*))?")
_CLOSES = re.compile(r"(?:\[(?P<when>[^]]*)\] *)?(?P<side>client|server)(?: (?P<connection>\d+))? closes")
_STATE = re.compile(r"(?:\[(?P<when>[^]]*)\] *)?state(?: (?P<connection>\d+))? (?P<text>[A-Z_]+)")
ALL_VERSIONS = frozenset(range(LATEST_VERSION + 1))


def _versions(text: str) -> frozenset[int] | None:
    match = re.fullmatch(r"(\d)(?:(\+)|-(\d))?", text)
    if match is None:
        return None
    first = int(match[1])
    last = LATEST_VERSION if match[2] else int(match[3] or first)
    return frozenset(range(first, last + 1))


def _step(number: int, line: str) -> Step | None:
    match = _STEP.fullmatch(line) or _CLOSES.fullmatch(line) or _STATE.fullmatch(line)
    if match is None:
        return None
    if match.re is _STEP:
        kind = Kind(match["side"] + match["kind"])
    else:
        kind = Kind(f"{match['side']} closes") if match.re is _CLOSES else Kind.STATE
    versions, variants = ALL_VERSIONS, frozenset(VARIANTS)
    for word in (match["when"] or "").split():
        numbers = _versions(word)
        if numbers is not None:
            versions = numbers
        elif word in VARIANTS:
            variants = frozenset({word})
        else:
            raise BadTranscript(f"line {number}: neither versions nor a variant: {word!r}")
    text = "" if match.re is _CLOSES else match["text"] or ""
    return Step(number, kind, int(match["connection"] or 1), text, versions, variants)


def parse_transcript(name: str, text: str) -> Transcript:
    """Parse a transcript. BadTranscript if the text is not one."""
    title = ""
    header: dict[str, list[str]] = {}
    steps: list[Step] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.rstrip()
        if not line or line.startswith("#"):
            title = title or line[1:].strip()
            continue
        step = _step(number, line)
        if step is not None:
            steps.append(step)
            continue
        word, _, value = line.partition(" ")
        if steps or word not in ("section", "versions", "mode", "present", "needs", "opening", "differs"):
            raise BadTranscript(f"{name}, line {number}: {line!r} is neither a step nor a header")
        header.setdefault(word, []).append(value)
    versions = _versions(header.get("versions", [""])[0])
    if not title or versions is None or "section" not in header or not steps:
        raise BadTranscript(f"{name}: needs a title, a section, versions and steps")
    if header.get("opening", ["spelled"]) != ["spelled"]:
        raise BadTranscript(f"{name}: an opening can be 'spelled' only")
    return Transcript(
        name=name,
        title=title,
        section=header["section"][0],
        versions=versions,
        steps=tuple(steps),
        mode=header.get("mode", ["read-write"])[0],
        present=tuple(header.get("present", ())),
        needs=frozenset(header.get("needs", ())),
        spelled="opening" in header,
        differs=tuple(header.get("differs", ())),
    )


def transcripts_directory() -> Path:
    """The directory of the transcripts: in the installed package, or in the source tree beside it."""
    here = Path(__file__).resolve().parent
    installed = here / "transcript_files"
    return installed if installed.is_dir() else here.parents[1] / "protocol-spec" / "transcripts"


def load_transcripts(directory: Path | None = None) -> list[Transcript]:
    """All transcripts, ordered by name. BadTranscript if one cannot be parsed, or if there are none."""
    files = sorted((directory or transcripts_directory()).glob("*.txt"))
    if not files:
        raise BadTranscript(f"no transcripts in {directory or transcripts_directory()}")
    return [parse_transcript(file.stem, file.read_text(encoding="utf-8")) for file in files]


# Placeholders ---------------------------------------------------------------------------------------------------

_PART = re.compile(r"\\x(?P<hex>[0-9a-fA-F]{2})|\\(?P<escape>.)|\{(?P<name>[^{}]+)\}|(?P<plain>[^\\{]+)")
_ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\", "{": b"{"}
_CONTENT = re.compile(r"@(\d+)(?:\[(\d*):(\d*)\])?")
_UUID = rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def content(text: str) -> bytes:
    """The bytes of a body: text with escapes, or `@SIZE` for that many pseudo-random bytes, or a slice of these."""
    match = _CONTENT.fullmatch(text)
    if match is None:
        return b"".join(part for part, _ in _parts(text))
    size = int(match[1])
    data = hashlib.shake_128(b"%d" % size).digest(size)
    return data[int(match[2] or 0) : int(match[3] or size)]


def _parts(text: str) -> Iterator[tuple[bytes, str]]:
    """The text in pieces: literal bytes and an empty name, or no bytes and the name of a placeholder."""
    for match in _PART.finditer(text):
        if match["hex"]:
            yield bytes.fromhex(match["hex"]), ""
        elif match["escape"]:
            yield _ESCAPES[match["escape"]], ""
        elif match["name"]:
            yield b"", match["name"]
        else:
            yield match["plain"].encode(), ""


class Values:
    """The values of the placeholders while one transcript is played once.

    `run` is a word of [a-z0-9] that makes the keys of this run different from those of all others. `uuid` is the
    server's, from its AUTH-SUCCESS. `number` is the last number that matched ``{number}``.
    """

    def __init__(self, version: int, run: str, *, uuid: str = "") -> None:
        self.version = version
        self.run = run
        self.uuid = uuid
        self.number = 1000

    def key(self, data: bytes) -> bytes:
        """The key of a content: its hash, with `run` as the extension."""
        return b"SHA256E-s%d--%s.%s" % (len(data), hashlib.sha256(data).hexdigest().encode(), self.run.encode())

    def _value(self, name: str) -> bytes:
        if name.startswith("key:"):
            return self.key(content(name[4:]))
        repeated = re.fullmatch(r"(.)\*(\d+)", name)
        if repeated is not None:
            return repeated[1].encode() * int(repeated[2])
        later = re.fullmatch(r"number(?:\+(\d+))?", name)
        if later is not None:
            return b"%d" % (self.number + int(later[1] or 0))
        values = {"version": f"{self.version}", "run": self.run, "uuid": self.uuid, "text": "the reason"}
        if name not in values:
            raise BadTranscript(f"there is no placeholder {{{name}}}")
        return values[name].encode()

    def body(self, text: str) -> bytes:
        """The bytes of a body, see `content`."""
        return content(text)

    def line(self, text: str) -> bytes:
        """The line to send, with its line feed."""
        return b"".join(self._value(name) if name else part for part, name in _parts(text)) + LINE

    def matches(self, text: str, line: bytes) -> bool:
        """Whether a received line, without its line feed, matches the expected `text`. Stores the values that it has
        for ``{number}`` and ``{uuid}``."""
        pattern = b""
        for part, name in _parts(text):
            if name == "number":
                pattern += rb"(?P<number>\d+)"
            elif name == "uuid" and not self.uuid:
                pattern += rb"(?P<uuid>" + _UUID + rb")"
            elif name == "text":
                pattern += rb"[^\n]*"
            else:
                pattern += re.escape(self._value(name) if name else part)
        match = re.fullmatch(pattern, line)
        if match is None:
            return False
        found = match.groupdict()
        self.number = int(found.get("number", self.number))
        self.uuid = found["uuid"].decode() if "uuid" in found else self.uuid
        return True


__all__ = [
    "VARIANTS",
    "BadTranscript",
    "Kind",
    "Mismatch",
    "Step",
    "Transcript",
    "Values",
    "content",
    "load_transcripts",
    "parse_transcript",
    "transcripts_directory",
]
