"""The lines of git-annex's external special remote protocol, versions 1 and 2: no process, no file, no clock.

A special remote program is asked for one thing at a time (`Request`). Before it replies it may say how far it is, and
ask for its settings. With the extension ASYNC every line begins with ``J n``, the number of the job that it belongs to,
so that one program works on several requests at once.

Lines are bytes, because keys are. What a program says is believed only as far as it can be read: a line that is too
long, unknown, or about another key than the one asked for is a `BadLine`, and there is no going on after that.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import field, frozen

from p2pannex.keys.key import Key

LINE_MAX = 256 * 1024
"""Bytes of the longest line that a program may send."""

EXTENSIONS = b"EXTENSIONS INFO ASYNC GETGITREMOTENAME UNAVAILABLERESPONSE"
"""What is offered to every program, right after its VERSION."""

VERSIONS = (b"1", b"2")

UNSUPPORTED = b"UNSUPPORTED-REQUEST"


class BadLine(Exception):
    """The program sent what the protocol does not have."""


class Lines:
    """Bytes as they come, cut into lines."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._searched = 0

    def feed(self, data: bytes | bytearray) -> None:
        """Take the next bytes. BadLine where a line gets too long."""
        self._data += data
        if len(self._data) > LINE_MAX and self._data.find(b"\n", self._searched, LINE_MAX + 1) < 0:
            raise BadLine("it sent a line that is too long")

    def next(self) -> bytes | None:
        """The next line, without its end; None where it has not all come."""
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
    """The line's first words and its rest, as `count` pieces; what is missing is empty."""
    pieces = line.split(b" ", count - 1)
    return pieces + [b""] * (count - len(pieces))


def text(line: bytes) -> str:
    """For people: what cannot be read, or would not stay on one line, is replaced."""
    shown = line.decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else " " for letter in shown)[:500].strip()


def number(word: bytes) -> int:
    """A whole number that is not negative. BadLine where it is none."""
    if not word.isdigit() or len(word) > 20:
        raise BadLine(f"it said {text(word)!r} where a number belongs")
    return int(word)


def split_job(line: bytes) -> tuple[int, bytes]:
    """The job of a line of a program that speaks ASYNC, 0 for a line that is of none, and the line itself."""
    if not line.startswith(b"J "):
        return 0, line
    _, job, rest = words(line, 3)
    return number(job), rest


def key_word(key: Key) -> bytes | None:
    """The key as it stands in a line; None where it cannot, because it has a space.

    git-annex does not store such keys with a special remote either.
    """
    return None if b" " in key.raw else key.raw


@frozen
class Reply:
    """What a program answered. `words` are those after the verb that the request did not foresee."""

    verb: bytes
    words: bytes = b""

    @property
    def reason(self) -> str:
        """A failure, in the program's words."""
        return text(self.words) or "it did not say why"


@frozen
class Request:
    """One thing to ask of a program. `replies` maps each verb that answers it to the words that must follow it."""

    line: bytes
    replies: dict[bytes, bytes] = field(repr=False)

    @property
    def verb(self) -> str:
        """What is asked for, for people: without the key, and the names of files here."""
        return text(self.line.partition(b" ")[0])

    def reply(self, line: bytes) -> Reply | None:
        """What the line answers, None where it is no reply. BadLine where it is the reply to something else."""
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
            raise BadLine(f"it answered {self.verb} with {text(verb)} about something else")
        return Reply(verb, rest[len(expected) + 1 :])


def prepare() -> Request:
    return Request(b"PREPARE", {b"PREPARE-SUCCESS": b"", b"PREPARE-FAILURE": b""})


def initialise() -> Request:
    return Request(b"INITREMOTE", {b"INITREMOTE-SUCCESS": b"", b"INITREMOTE-FAILURE": b""})


def transfer(direction: bytes, key: bytes, path: bytes) -> Request:
    """`direction` is STORE or RETRIEVE. The path holds no white space."""
    about = direction + b" " + key
    return Request(b"TRANSFER %b %b" % (about, path), {b"TRANSFER-SUCCESS": about, b"TRANSFER-FAILURE": about})


def check_present(key: bytes) -> Request:
    verbs = (b"CHECKPRESENT-SUCCESS", b"CHECKPRESENT-FAILURE", b"CHECKPRESENT-UNKNOWN")
    return Request(b"CHECKPRESENT " + key, dict.fromkeys(verbs, key))


def remove(key: bytes) -> Request:
    return Request(b"REMOVE " + key, dict.fromkeys((b"REMOVE-SUCCESS", b"REMOVE-FAILURE"), key))


def get_cost() -> Request:
    return Request(b"GETCOST", {b"COST": b""})


def get_availability() -> Request:
    return Request(b"GETAVAILABILITY", {b"AVAILABILITY": b""})


def urls_answer(urls: list[bytes]) -> Iterator[bytes]:
    """The lines that answer GETURLS: each url, then an empty one."""
    for url in urls:
        yield b"VALUE " + url
    yield b"VALUE "
