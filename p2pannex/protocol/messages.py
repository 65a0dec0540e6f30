"""The messages, a frozen class each: what they carry, how they are written, since which version they exist.

A message is one line: the verb, then fields parted by single spaces, the last of which takes the rest of the line
(protocol-spec section 2). `parse_message` reads a line without its line feed; `Message.format` writes one with it.
Neither knows which messages are allowed when: that is `conversation.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeVar

from attrs import fields, frozen

from p2pannex.keys.key import InvalidKey, Key

LATEST_VERSION = 4
MAX_LINE = 32 * 1024
"""The longest line, in bytes, line feed included, that either side may send."""


class UnparsableMessage(ValueError):
    """The line is no message at all: an unknown verb, or fields that do not fit the verb."""


# Fields: how each kind of value is read and written -------------------------------------------------------------


class Codec(NamedTuple):
    """How a field is read from bytes (ValueError when it cannot be) and written to them."""

    parse: Callable[[bytes], Any]
    format: Callable[[Any], bytes]
    rest: bool = False
    """True where the field takes the rest of the line, spaces and all."""


def _parse_number(raw: bytes) -> int:
    if not raw.isdigit() or len(raw) > 19:
        raise ValueError("not a number")
    return int(raw)


def _format_number(value: int) -> bytes:
    if value < 0:
        raise ValueError("a number on the wire is never negative")
    return b"%d" % value


def _parse_exit_code(raw: bytes) -> int:
    if not raw.removeprefix(b"-").isdigit() or len(raw) > 11:
        raise ValueError("not an exit code")
    return int(raw)


def _checked_word(raw: bytes) -> bytes:
    if not raw or b" " in raw or b"\n" in raw or b"\r" in raw:
        raise ValueError("a word is neither empty nor holds spaces or line breaks")
    return raw


def _parse_word(raw: bytes) -> str:
    return _checked_word(raw).decode("utf-8", "surrogateescape")


def _format_word(value: str) -> bytes:
    return _checked_word(value.encode("utf-8", "surrogateescape"))


def _parse_words(raw: bytes) -> tuple[str, ...]:
    return tuple(_parse_word(word) for word in raw.split(b" ") if word)


def _format_words(values: tuple[str, ...]) -> bytes:
    return b" ".join(map(_format_word, values))


def _parse_text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _format_text(value: str) -> bytes:
    """Text for people: what would break the line becomes a space, and the line is kept short."""
    flat = value.replace("\n", " ").replace("\r", " ").replace("\0", " ")
    return flat.encode("utf-8", "surrogateescape")[:2048]


def parse_associated_file(raw: bytes) -> bytes | None:
    """Undo `format_associated_file` (protocol-spec section 2.3). Empty is none; an absolute path is refused."""
    if not raw:
        return None
    if raw.startswith(b"/"):
        raise ValueError("an associated file is relative")
    if b"%" in raw:
        raw = b"%".join(part.replace(b"%", b"_") for part in raw.split(b"%%"))
    if any(byte < 32 or byte == 127 for byte in raw):
        raw = bytes(95 if byte < 32 or byte == 127 else byte for byte in raw)
    return raw


def format_associated_file(path: bytes | None) -> bytes:
    """White space becomes `%` and `%` becomes `%%`, so that the field holds no space. An absolute path is not sent."""
    if not path or path.startswith(b"/"):
        return b""
    path = path.replace(b"%", b"%%")
    return bytes(37 if byte in b" \t\n\r\v\f" else byte for byte in path)


def _checked_key(key: Key) -> Key:
    # The far side drops a CR at the end of a line, and would do to another key what was meant for this one.
    if key.raw.endswith(b"\r"):
        raise ValueError("a key that ends in CR cannot be told apart from one that does not")
    return key


def _parse_key(raw: bytes) -> Key:
    return _checked_key(Key.parse(raw))


def _format_key(key: Key) -> bytes:
    return _checked_key(key).raw


def _parse_optional_key(raw: bytes) -> Key | None:
    return _parse_key(raw) if raw else None


def _format_optional_key(key: Key | None) -> bytes:
    return b"" if key is None else _format_key(key)


GIT_SERVICES = ("git-upload-pack", "git-receive-pack")
"""The programs that CONNECT can ask for."""


def _parse_git_service(raw: bytes) -> str:
    name = _parse_word(raw)
    if name not in GIT_SERVICES:
        raise ValueError("not a service of git")
    return name


def _format_git_service(name: str) -> bytes:
    return _parse_git_service(_format_word(name)).encode()


NUMBER = Codec(_parse_number, _format_number)
EXIT_CODE = Codec(_parse_exit_code, lambda value: b"%d" % value)
WORD = Codec(_parse_word, _format_word)
WORDS = Codec(_parse_words, _format_words, rest=True)
TEXT = Codec(_parse_text, _format_text, rest=True)
FILE = Codec(parse_associated_file, format_associated_file)
KEY = Codec(_parse_key, _format_key, rest=True)
OPTIONAL_KEY = Codec(_parse_optional_key, _format_optional_key, rest=True)
GIT_SERVICE = Codec(_parse_git_service, _format_git_service)


# Messages -------------------------------------------------------------------------------------------------------


@frozen
class Message:
    """A line of the protocol. Subclasses name their fields in the order in which the line holds them."""

    verb: ClassVar[bytes]
    since: ClassVar[int] = 0
    """The protocol version that the message came with."""
    codecs: ClassVar[tuple[Codec, ...]] = ()
    """How each field is read and written, in the order of the line, and"""
    names: ClassVar[tuple[str, ...]] = ()
    """the names of the fields."""

    def format(self) -> bytes:
        """The line, line feed included. ValueError for a value that no line can carry."""
        codecs = self.codecs
        if not codecs:
            return self.verb + b"\n"
        values = [codec.format(getattr(self, name)) for name, codec in zip(self.names, codecs, strict=True)]
        if values == [b""]:
            return self.verb + b"\n"
        line = b" ".join([self.verb, *values]) + b"\n"
        if len(line) > MAX_LINE:
            raise ValueError(f"a line is at most {MAX_LINE} bytes")
        return line


M = TypeVar("M", bound=type[Message])
MESSAGES: dict[bytes, type[Message]] = {}
"""Every message there is, by verb."""


def _line(verb: str, *codecs: Codec, since: int = 0) -> Callable[[M], M]:
    def register(cls: M) -> M:
        cls.verb, cls.since, cls.codecs = verb.encode(), since, codecs
        cls.names = tuple(attribute.name for attribute in fields(cls))
        MESSAGES[cls.verb] = cls
        return cls

    return register


@_line("AUTH", WORD, WORD)
@frozen
class Auth(Message):
    """Client: who I am, and the token that lets me in."""

    uuid: str
    token: str

    def __repr__(self) -> str:  # the token is a secret: never in a log
        return f"Auth(uuid={self.uuid!r}, token=...)"


@_line("AUTH-SUCCESS", WORD)
@frozen
class AuthSuccess(Message):
    """Server: you may speak to this repository."""

    uuid: str


@_line("AUTH-FAILURE")
@frozen
class AuthFailure(Message):
    """Server: no."""


@_line("VERSION", NUMBER)
@frozen
class Version(Message):
    """Client: the highest version I speak. Server: the one we shall use."""

    version: int


@_line("BYPASS", WORDS, since=2)
@frozen
class Bypass(Message):
    """Client: do not go through these gateways again. Nothing answers it."""

    uuids: tuple[str, ...] = ()


@_line("CONNECT", GIT_SERVICE)
@frozen
class Connect(Message):
    """Client: run git-upload-pack or git-receive-pack, and relay both ways."""

    service: str


@_line("CONNECTDONE", EXIT_CODE)
@frozen
class ConnectDone(Message):
    """Server: the git program ended, with this exit code."""

    exit_code: int


@_line("NOTIFYCHANGE")
@frozen
class NotifyChange(Message):
    """Client: tell me when refs change."""


@_line("CHANGED", WORDS)
@frozen
class Changed(Message):
    """Server: refs changed to these objects (git-annex calls their names refs too)."""

    refs: tuple[str, ...]


@_line("CHECKPRESENT", KEY)
@frozen
class CheckPresent(Message):
    """Client: have you verified content of this key?"""

    key: Key


@_line("LOCKCONTENT", KEY)
@frozen
class LockContent(Message):
    """Client: promise to keep it until I say otherwise, or for ten minutes."""

    key: Key


@_line("UNLOCKCONTENT", OPTIONAL_KEY)
@frozen
class UnlockContent(Message):
    """Client: you may remove it again. The key is not sent by git-annex, but taken when it comes."""

    key: Key | None = None


@_line("REMOVE", KEY)
@frozen
class Remove(Message):
    """Client: remove the content; I have checked that enough copies remain."""

    key: Key


@_line("REMOVE-BEFORE", NUMBER, KEY, since=3)
@frozen
class RemoveBefore(Message):
    """Client: remove it, unless your clock has reached this time (seconds, as TIMESTAMP told)."""

    timestamp: int
    key: Key


@_line("GETTIMESTAMP", since=3)
@frozen
class GetTimestamp(Message):
    """Client: what does your monotonic clock say?"""


@_line("TIMESTAMP", NUMBER, since=3)
@frozen
class Timestamp(Message):
    """Server: this many seconds."""

    seconds: int


@_line("GET", NUMBER, FILE, KEY)
@frozen
class Get(Message):
    """Client: send the content, from this byte on."""

    offset: int
    file: bytes | None
    key: Key


@_line("PUT", FILE, KEY)
@frozen
class Put(Message):
    """Client: I have content to send."""

    file: bytes | None
    key: Key


@_line("PUT-FROM", NUMBER)
@frozen
class PutFrom(Message):
    """Server: send it from this byte on."""

    offset: int


@_line("ALREADY-HAVE")
@frozen
class AlreadyHaveReply(Message):
    """Server: no need to send it."""


@_line("ALREADY-HAVE-PLUS", WORDS, since=2)
@frozen
class AlreadyHavePlusReply(Message):
    """Server: no need, and these repositories have it too."""

    uuids: tuple[str, ...] = ()


@_line("DATA", NUMBER)
@frozen
class Data(Message):
    """Either: this many bytes follow, right after the line feed."""

    length: int


@_line("DATA-PRESENT", since=4)
@frozen
class DataPresent(Message):
    """Client, instead of DATA: the content reached the repository by another way."""


@_line("VALID", since=1)
@frozen
class Valid(Message):
    """Sender of a body: those bytes are good, as far as I know."""


@_line("INVALID", since=1)
@frozen
class Invalid(Message):
    """Sender of a body: the content changed while I sent it; do not trust it."""


@_line("SUCCESS")
@frozen
class Success(Message):
    """The request was done, or the answer is yes."""


@_line("SUCCESS-PLUS", WORDS, since=2)
@frozen
class SuccessPlus(Message):
    """Done, in these repositories too."""

    uuids: tuple[str, ...] = ()


@_line("FAILURE")
@frozen
class Failure(Message):
    """The request was not done, or the answer is no."""


@_line("FAILURE-PLUS", WORDS, since=2)
@frozen
class FailurePlus(Message):
    """Not done, but these repositories did it."""

    uuids: tuple[str, ...] = ()


@_line("ERROR", TEXT)
@frozen
class Error(Message):
    """Server: the request failed, and why. Client: I give up; the connection ends."""

    message: str


def parse_message(line: bytes) -> Message:
    """The message on a line (given without its line feed). UnparsableMessage for everything else."""
    if line.endswith(b"\r"):
        line = line[:-1]
    verb, _, rest = line.partition(b" ")
    cls = MESSAGES.get(verb)
    if cls is None:
        raise UnparsableMessage("unknown verb")
    codecs = cls.codecs
    if not codecs:
        if rest:
            raise UnparsableMessage(f"{verb.decode()} takes no fields")
        return cls()
    try:
        if len(codecs) == 1:
            if not codecs[0].rest and b" " in rest:
                raise ValueError("too many fields")
            return cls(codecs[0].parse(rest))  # type: ignore[call-arg]
        raw = rest.split(b" ", len(codecs) - 1)
        if len(raw) != len(codecs):
            raise ValueError("too few fields")
        return cls(*(codec.parse(field) for codec, field in zip(codecs, raw, strict=True)))
    except (ValueError, InvalidKey) as problem:
        raise UnparsableMessage(f"{verb.decode()}: {problem}") from None
