"""The messages of the protocol, one frozen class each: verb, fields, and the version that introduced the message.

A message is one line: the verb, then the fields, separated by single spaces (protocol-spec section 2). In some messages
the last field takes the rest of the line, spaces included. `parse_message` parses a line without its line feed;
`Message.format` returns the line with it. Which message is allowed when is not decided here but in `conversation.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeVar

from attrs import fields, frozen

from p2pannex.keys.key import InvalidKey, Key
from p2pannex.terminal import safe

LATEST_VERSION = 4
MAX_LINE = 32 * 1024
"""The longest line, in bytes, line feed included, that either side may send."""


class UnparsableMessage(ValueError):
    """The line is not a message: its verb is unknown, or its fields do not fit the verb."""


# Fields: how each kind of value is parsed and formatted -------------------------------------------------------------


class Codec(NamedTuple):
    """How a field is parsed from bytes and formatted to bytes. Both raise ValueError for what is not allowed."""

    parse: Callable[[bytes], Any]
    format: Callable[[Any], bytes]
    rest: bool = False
    """True if the field takes the rest of the line, spaces included."""


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
        raise ValueError("a word cannot be empty or contain spaces or line breaks")
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
    """Text for people, who see it on a terminal: see `safe`. It is cut after 2048 bytes."""
    return safe(value).encode()[:2048]


def parse_associated_file(raw: bytes) -> bytes | None:
    """The path in a field (protocol-spec section 2.3), or None if the field is empty. ValueError for an absolute path.

    A `%%` becomes `%`. A single `%`, which stands for some white space, and control characters become `_`.
    """
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
    """The field for a path: white space becomes `%` and `%` becomes `%%`, so that it contains no space.

    An absolute path is not sent: the field is empty, as for None.
    """
    if not path or path.startswith(b"/"):
        return b""
    path = path.replace(b"%", b"%%")
    return bytes(37 if byte in b" \t\n\r\v\f" else byte for byte in path)


def _checked_key(key: Key) -> Key:
    # The receiver drops a CR at the end of a line. It would then act on another key than the sender meant.
    if key.raw.endswith(b"\r"):
        raise ValueError("a key that ends in CR cannot be sent: the receiver would drop the CR")
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
"""The programs that a client can request with CONNECT."""


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
    """A line of the protocol. A subclass declares its fields in their order on the line."""

    verb: ClassVar[bytes]
    since: ClassVar[int] = 0
    """The protocol version that introduced the message."""
    codecs: ClassVar[tuple[Codec, ...]] = ()
    """The codec of each field, in their order on the line."""
    names: ClassVar[tuple[str, ...]] = ()
    """The name of each field, in the same order."""

    def format(self) -> bytes:
        """The line, line feed included. ValueError if a field has a value that cannot be sent."""
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
"""All messages, by verb."""


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
    """Client: its UUID, and the token that authenticates it."""

    uuid: str
    token: str

    def __repr__(self) -> str:  # the token is a secret, which must not appear in a log
        return f"Auth(uuid={self.uuid!r}, token=...)"


@_line("AUTH-SUCCESS", WORD)
@frozen
class AuthSuccess(Message):
    """Server: the client is authenticated; the repository has this UUID."""

    uuid: str


@_line("AUTH-FAILURE")
@frozen
class AuthFailure(Message):
    """Server: the token is not valid."""


@_line("VERSION", NUMBER)
@frozen
class Version(Message):
    """Client: the highest version that it speaks. Server: the version to use from now on."""

    version: int


@_line("BYPASS", WORDS, since=2)
@frozen
class Bypass(Message):
    """Client: do not send requests through these gateways again. The server does not reply."""

    uuids: tuple[str, ...] = ()


@_line("CONNECT", GIT_SERVICE)
@frozen
class Connect(Message):
    """Client: run git-upload-pack or git-receive-pack, and relay bytes both ways."""

    service: str


@_line("CONNECTDONE", EXIT_CODE)
@frozen
class ConnectDone(Message):
    """Server: the git program ended with this exit code."""

    exit_code: int


@_line("NOTIFYCHANGE")
@frozen
class NotifyChange(Message):
    """Client: reply when git refs have changed."""


@_line("CHANGED", WORDS)
@frozen
class Changed(Message):
    """Server: git refs now point to these objects. (git-annex calls the names of the objects refs, too.)"""

    refs: tuple[str, ...]


@_line("CHECKPRESENT", KEY)
@frozen
class CheckPresent(Message):
    """Client: is verified content of this key present?"""

    key: Key


@_line("LOCKCONTENT", KEY)
@frozen
class LockContent(Message):
    """Client: lock the content until UNLOCKCONTENT or, if the client is lost before, for ten minutes."""

    key: Key


@_line("UNLOCKCONTENT", OPTIONAL_KEY)
@frozen
class UnlockContent(Message):
    """Client: the content may be removed again. git-annex sends no key; a key that is sent is accepted."""

    key: Key | None = None


@_line("REMOVE", KEY)
@frozen
class Remove(Message):
    """Client: remove the content. The client has verified that enough other copies exist."""

    key: Key


@_line("REMOVE-BEFORE", NUMBER, KEY, since=3)
@frozen
class RemoveBefore(Message):
    """Client: remove the content, unless the server's clock (see TIMESTAMP) has reached this time, in seconds."""

    timestamp: int
    key: Key


@_line("GETTIMESTAMP", since=3)
@frozen
class GetTimestamp(Message):
    """Client: reply with the server's monotonic clock."""


@_line("TIMESTAMP", NUMBER, since=3)
@frozen
class Timestamp(Message):
    """Server: its monotonic clock, in whole seconds."""

    seconds: int


@_line("GET", NUMBER, FILE, KEY)
@frozen
class Get(Message):
    """Client: send the content, from byte `offset` on."""

    offset: int
    file: bytes | None
    key: Key


@_line("PUT", FILE, KEY)
@frozen
class Put(Message):
    """Client: it has content to send."""

    file: bytes | None
    key: Key


@_line("PUT-FROM", NUMBER)
@frozen
class PutFrom(Message):
    """Server: send the content from byte `offset` on."""

    offset: int


@_line("ALREADY-HAVE")
@frozen
class AlreadyHaveReply(Message):
    """Server: the content is present already."""


@_line("ALREADY-HAVE-PLUS", WORDS, since=2)
@frozen
class AlreadyHavePlusReply(Message):
    """Server: the content is present already, in these other repositories too."""

    uuids: tuple[str, ...] = ()


@_line("DATA", NUMBER)
@frozen
class Data(Message):
    """Either side: `length` bytes follow directly after the line feed."""

    length: int


@_line("DATA-PRESENT", since=4)
@frozen
class DataPresent(Message):
    """Client, instead of DATA: the content reached the repository by another way."""


@_line("VALID", since=1)
@frozen
class Valid(Message):
    """Sender of a body: as far as the sender knows, the bytes are good."""


@_line("INVALID", since=1)
@frozen
class Invalid(Message):
    """Sender of a body: the content changed while it was sent; the bytes may be wrong."""


@_line("SUCCESS")
@frozen
class Success(Message):
    """The request was fulfilled, or the reply is yes."""


@_line("SUCCESS-PLUS", WORDS, since=2)
@frozen
class SuccessPlus(Message):
    """The request was fulfilled, by these other repositories too."""

    uuids: tuple[str, ...] = ()


@_line("FAILURE")
@frozen
class Failure(Message):
    """The request was not fulfilled, or the reply is no."""


@_line("FAILURE-PLUS", WORDS, since=2)
@frozen
class FailurePlus(Message):
    """The request was not fulfilled, except by these other repositories."""

    uuids: tuple[str, ...] = ()


@_line("ERROR", TEXT)
@frozen
class Error(Message):
    """Server: the request failed, for this reason. Client: it cannot continue. Section 3 says what that ends."""

    message: str


def parse_message(line: bytes) -> Message:
    """Parse a line, given without its line feed. UnparsableMessage if it is not a message."""
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
