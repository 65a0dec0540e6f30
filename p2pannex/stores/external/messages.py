"""The lines of git-annex's external special remote protocol, versions 1 and 2. This module does no I/O.

A special remote program gets one `Request` at a time. Before it replies, it may report progress and request its
settings. With the extension ASYNC, each line begins with ``J n``, where n is the number of a job; so one program can
work on several requests at the same time.

Lines are bytes, because keys are. A line that is too long, unknown, or a reply to another request is a `BadLine`. The
connection cannot be used after that.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import field, frozen

from p2pannex.keys.key import Key
from p2pannex.terminal import safe_line

LINE_MAX = 256 * 1024
"""Bytes of the longest line that a program may send."""

TEXT_MAX = 500
"""Characters of a line that error messages quote."""

EXTENSIONS = b"EXTENSIONS INFO ASYNC GETGITREMOTENAME UNAVAILABLERESPONSE"
"""The line that every program gets right after its VERSION: the extensions that p2pannex supports."""

VERSIONS = (b"1", b"2")

UNSUPPORTED = b"UNSUPPORTED-REQUEST"


class BadLine(Exception):
    """The program sent a line that violates the protocol. The text says which."""


class Lines:
    """Splits received bytes into lines."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._searched = 0

    def feed(self, data: bytes | bytearray) -> None:
        """Accept the next bytes. BadLine if a line is too long."""
        self._data += data
        if len(self._data) > LINE_MAX and self._data.find(b"\n", self._searched, LINE_MAX + 1) < 0:
            raise BadLine("it sent a line that is too long")

    def next(self) -> bytes | None:
        """The next line, without its newline; None if it has not arrived completely."""
        end = self._data.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._data)
            return None
        line = bytes(self._data[:end])
        del self._data[: end + 1]
        self._searched = 0
        if len(line) > LINE_MAX:
            raise BadLine("it sent a line that is too long")
        return line


def words(line: bytes, count: int) -> list[bytes]:
    """Split a line into `count` pieces: its first words, and the rest. Missing pieces are empty."""
    pieces = line.split(b" ", count - 1)
    return pieces + [b""] * (count - len(pieces))


def text(line: bytes) -> str:
    """The line as text for messages: what is undecodable or not visible is replaced. At most `TEXT_MAX` characters."""
    return safe_line(line.decode("utf-8", "replace"))[:TEXT_MAX]


def number(word: bytes) -> int:
    """Parse a non-negative whole number. BadLine if it is not one."""
    if not word.isdigit() or len(word) > 20:
        raise BadLine(f"it sent {text(word)!r} instead of a number")
    return int(word)


def split_job(line: bytes) -> tuple[int, bytes]:
    """The job number of a line of a program that uses ASYNC, and the rest of the line. 0 if the line has no job."""
    if not line.startswith(b"J "):
        return 0, line
    _, job, rest = words(line, 3)
    return number(job), rest


def key_word(key: Key) -> bytes | None:
    """The key as it is written in a line; None if that is impossible because it contains a space.

    git-annex does not store such keys in special remotes either.
    """
    return None if b" " in key.raw else key.raw


@frozen
class Reply:
    """A program's reply. `words` is the rest of the line after the verb and the words that repeat the request."""

    verb: bytes
    words: bytes = b""

    @property
    def reason(self) -> str:
        """The program's message about a failure."""
        return text(self.words) or "it gave no reason"


@frozen
class Request:
    """A request to a program. `replies` maps the verb of each possible reply to the words that must follow it."""

    line: bytes
    replies: dict[bytes, bytes] = field(repr=False)

    @property
    def verb(self) -> str:
        """The request's verb, for messages: without the key and without file names."""
        return text(self.line.partition(b" ")[0])

    def reply(self, line: bytes) -> Reply | None:
        """Parse a line as a reply. None if it is not a reply; BadLine if it is a reply to another request."""
        verb = line.partition(b" ")[0]
        if verb == UNSUPPORTED:
            return Reply(verb)
        expected = self.replies.get(verb)
        if expected is None:
            return None
        rest = line[len(verb) + 1 :]
        if not expected:
            return Reply(verb, rest)
        if rest != expected and not rest.startswith(expected + b" "):
            raise BadLine(f"it replied to {self.verb} with {text(verb)} for another request")
        return Reply(verb, rest[len(expected) + 1 :])


def prepare() -> Request:
    return Request(b"PREPARE", {b"PREPARE-SUCCESS": b"", b"PREPARE-FAILURE": b""})


def initialise() -> Request:
    return Request(b"INITREMOTE", {b"INITREMOTE-SUCCESS": b"", b"INITREMOTE-FAILURE": b""})


def transfer(direction: bytes, key: bytes, path: bytes) -> Request:
    """`direction` is STORE or RETRIEVE. The path must not contain white space."""
    what = direction + b" " + key
    return Request(b"TRANSFER %b %b" % (what, path), {b"TRANSFER-SUCCESS": what, b"TRANSFER-FAILURE": what})


def check_present(key: bytes) -> Request:
    verbs = (b"CHECKPRESENT-SUCCESS", b"CHECKPRESENT-FAILURE", b"CHECKPRESENT-UNKNOWN")
    return Request(b"CHECKPRESENT " + key, dict.fromkeys(verbs, key))


def remove(key: bytes) -> Request:
    return Request(b"REMOVE " + key, dict.fromkeys((b"REMOVE-SUCCESS", b"REMOVE-FAILURE"), key))


def get_cost() -> Request:
    return Request(b"GETCOST", {b"COST": b""})


def get_availability() -> Request:
    return Request(b"GETAVAILABILITY", {b"AVAILABILITY": b""})


def urls_reply(urls: list[bytes]) -> Iterator[bytes]:
    """The lines of the reply to GETURLS: each url, then an empty one."""
    for url in urls:
        yield b"VALUE " + url
    yield b"VALUE "
