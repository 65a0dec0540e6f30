"""protocol-spec section 2: lines, and what they say."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from p2pannex.keys.key import Key
from p2pannex.protocol.messages import (
    MAX_LINE,
    MESSAGES,
    AlreadyHave,
    AlreadyHavePlus,
    Auth,
    AuthFailure,
    AuthSuccess,
    Bypass,
    Changed,
    CheckPresent,
    Connect,
    ConnectDone,
    Data,
    DataPresent,
    Error,
    Failure,
    FailurePlus,
    Get,
    GetTimestamp,
    Invalid,
    LockContent,
    Message,
    NotifyChange,
    Put,
    PutFrom,
    Remove,
    RemoveBefore,
    Success,
    SuccessPlus,
    Timestamp,
    UnlockContent,
    UnparsableMessage,
    Valid,
    Version,
    format_associated_file,
    parse_associated_file,
    parse_message,
)

K = Key(b"SHA256-s5--2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")
SPACED = Key(b"WORM-s3--a b  c")
RAW = K.raw

# 2.1, 2.2: every message as it is written --------------------------------------------------------------------------

LINES: list[tuple[bytes, Message, int]] = [
    (b"AUTH u t", Auth("u", "t"), 0),
    (b"AUTH-SUCCESS u", AuthSuccess("u"), 0),
    (b"AUTH-FAILURE", AuthFailure(), 0),
    (b"VERSION 4", Version(4), 0),
    (b"CONNECT git-upload-pack", Connect("git-upload-pack"), 0),
    (b"CONNECT git-receive-pack", Connect("git-receive-pack"), 0),
    (b"CONNECTDONE 0", ConnectDone(0), 0),
    (b"CONNECTDONE -1", ConnectDone(-1), 0),
    (b"NOTIFYCHANGE", NotifyChange(), 0),
    (b"CHANGED a b", Changed(("a", "b")), 0),
    (b"CHANGED", Changed(()), 0),
    (b"CHECKPRESENT " + RAW, CheckPresent(K), 0),
    (b"CHECKPRESENT WORM-s3--a b  c", CheckPresent(SPACED), 0),
    (b"LOCKCONTENT " + RAW, LockContent(K), 0),
    (b"UNLOCKCONTENT", UnlockContent(), 0),
    (b"UNLOCKCONTENT " + RAW, UnlockContent(K), 0),
    (b"REMOVE " + RAW, Remove(K), 0),
    (b"GET 0  " + RAW, Get(0, None, K), 0),
    (b"GET 17 a/b " + RAW, Get(17, b"a/b", K), 0),
    (b"GET 17 a/b WORM-s3--a b  c", Get(17, b"a/b", SPACED), 0),
    (b"PUT  " + RAW, Put(None, K), 0),
    (b"PUT -x WORM-s3--a b  c", Put(b"-x", SPACED), 0),
    (b"PUT-FROM 5", PutFrom(5), 0),
    (b"ALREADY-HAVE", AlreadyHave(), 0),
    (b"SUCCESS", Success(), 0),
    (b"FAILURE", Failure(), 0),
    (b"DATA 12345678901234567", Data(12345678901234567), 0),
    (b"ERROR it is  broken ", Error("it is  broken "), 0),
    (b"ERROR", Error(""), 0),
    (b"VALID", Valid(), 1),
    (b"INVALID", Invalid(), 1),
    (b"BYPASS", Bypass(()), 2),
    (b"BYPASS u v", Bypass(("u", "v")), 2),
    (b"ALREADY-HAVE-PLUS u", AlreadyHavePlus(("u",)), 2),
    (b"SUCCESS-PLUS", SuccessPlus(()), 2),
    (b"SUCCESS-PLUS u v w", SuccessPlus(("u", "v", "w")), 2),
    (b"FAILURE-PLUS u", FailurePlus(("u",)), 2),
    (b"REMOVE-BEFORE 99 " + RAW, RemoveBefore(99, K), 3),
    (b"GETTIMESTAMP", GetTimestamp(), 3),
    (b"TIMESTAMP 7", Timestamp(7), 3),
    (b"DATA-PRESENT", DataPresent(), 4),
]


@pytest.mark.parametrize(("line", "message", "since"), LINES, ids=[repr(line[:30]) for line, _, _ in LINES])
def test_written_and_read(line: bytes, message: Message, since: int) -> None:
    assert parse_message(line) == message
    assert message.format() == line + b"\n"
    assert message.since == since
    assert parse_message(line + b"\r") == message


def test_the_lines_above_are_all_there_are() -> None:
    assert {type(message) for _, message, _ in LINES} == set(MESSAGES.values())
    assert all(MESSAGES[verb].verb == verb for verb in MESSAGES)


LENIENT: list[tuple[bytes, Message]] = [
    (b"GETTIMESTAMP ", GetTimestamp()),
    (b"UNLOCKCONTENT ", UnlockContent()),
    (b"BYPASS  u   v ", Bypass(("u", "v"))),
    (b"VERSION 04", Version(4)),
    (b"CHECKPRESENT SHA256-s05--x", CheckPresent(Key(b"SHA256-s5--x"))),
    (b"ERROR ", Error("")),
]


@pytest.mark.parametrize(("line", "message"), LENIENT)
def test_read_though_never_written_so(line: bytes, message: Message) -> None:
    assert parse_message(line) == message


UNPARSABLE = [
    *(b"", b" ", b"FOO", b"checkpresent " + RAW, b" CHECKPRESENT " + RAW, b"CHECKPRESENT\t" + RAW, b"\0", b"Version 4"),
    *(b"CHECKPRESENT", b"CHECKPRESENT ", b"CHECKPRESENT foo", b"CHECKPRESENT SHA256", b"CHECKPRESENT SHA256-sX--a"),
    *(b"CHECKPRESENT WORM--a\r\r", b"REMOVE WORM--a\0b", b"LOCKCONTENT", b"UNLOCKCONTENT foo", b"REMOVE x"),
    *(b"REMOVE-BEFORE 5", b"REMOVE-BEFORE x " + RAW, b"REMOVE-BEFORE -5 " + RAW, b"REMOVE-BEFORE 1.5 " + RAW),
    *(b"GET 0", b"GET 0 ", b"GET 0 " + RAW, b"GET x  " + RAW, b"GET -1  " + RAW, b"GET +1  " + RAW, b"GET 0 /a " + RAW),
    *(b"PUT", b"PUT  ", b"PUT " + RAW, b"PUT  foo", b"PUT /abs " + RAW),
    *(b"VERSION", b"VERSION abc", b"VERSION +4", b"VERSION 4.0", b"VERSION -1", b"VERSION 4 4"),
    *(b"DATA", b"DATA x", b"DATA -1", b"DATA 1 2", b"DATA " + b"9" * 20, b"PUT-FROM", b"TIMESTAMP x", b"TIMESTAMP 1_0"),
    *(
        b"AUTH",
        b"AUTH u",
        b"AUTH u ",
        b"AUTH  t",
        b"AUTH u t t",
        b"AUTH-SUCCESS",
        b"AUTH-SUCCESS ",
        b"AUTH-SUCCESS u v",
    ),
    *(b"SUCCESS x", b"VALID x", b"DATA-PRESENT x", b"NOTIFYCHANGE x", b"GETTIMESTAMP foo", b"AUTH-FAILURE x"),
    *(b"CONNECT", b"CONNECT foo", b"CONNECT git-upload-archive", b"CONNECTDONE", b"CONNECTDONE x", b"CONNECTDONE --1"),
    *(b"BYPASS a\rb c", b"AUTH a\rb c"),
]


@pytest.mark.parametrize("line", UNPARSABLE)
def test_unparsable(line: bytes) -> None:
    with pytest.raises(UnparsableMessage):
        parse_message(line)


@pytest.mark.parametrize("line", [b"\xd9\xa3", "VERSION ٣".encode(), "DATA ³".encode()])
def test_digits_are_ascii(line: bytes) -> None:
    with pytest.raises(UnparsableMessage):
        parse_message(line)


# Any value that can be written is read again -----------------------------------------------------------------------

numbers = st.integers(0, 10**19 - 1)
words = st.binary(min_size=1, max_size=40).map(lambda raw: raw.translate(None, b" \r\n")).filter(bool)
word_texts = words.map(lambda raw: raw.decode("utf-8", "surrogateescape"))
word_tuples = st.lists(word_texts, max_size=4).map(tuple)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), max_size=60)
keys = st.builds(
    Key.make,
    st.sampled_from(["SHA256", "SHA256E", "WORM", "URL", "XFOO", "x y"]),
    st.binary(min_size=1, max_size=50).filter(lambda name: not set(name) & set(b"\0\n") and name[-1] != 13),
    size=st.none() | st.integers(0, 2**63),
)
plain_files = st.binary(max_size=30).map(
    lambda raw: raw.translate(None, bytes(range(33)) + b"\x7f").lstrip(b"/") or None
)

MESSAGE_VALUES: dict[type[Message], st.SearchStrategy[Message]] = {
    Auth: st.builds(Auth, word_texts, word_texts),
    AuthSuccess: st.builds(AuthSuccess, word_texts),
    Version: st.builds(Version, numbers),
    Bypass: st.builds(Bypass, word_tuples),
    Connect: st.builds(Connect, st.sampled_from(["git-upload-pack", "git-receive-pack"])),
    ConnectDone: st.builds(ConnectDone, st.integers(-255, 255)),
    Changed: st.builds(Changed, word_tuples),
    CheckPresent: st.builds(CheckPresent, keys),
    LockContent: st.builds(LockContent, keys),
    UnlockContent: st.builds(UnlockContent, st.none() | keys),
    Remove: st.builds(Remove, keys),
    RemoveBefore: st.builds(RemoveBefore, numbers, keys),
    Timestamp: st.builds(Timestamp, numbers),
    Get: st.builds(Get, numbers, plain_files, keys),
    Put: st.builds(Put, plain_files, keys),
    PutFrom: st.builds(PutFrom, numbers),
    AlreadyHavePlus: st.builds(AlreadyHavePlus, word_tuples),
    Data: st.builds(Data, numbers),
    SuccessPlus: st.builds(SuccessPlus, word_tuples),
    FailurePlus: st.builds(FailurePlus, word_tuples),
    Error: st.builds(Error, texts),
}
messages = st.sampled_from(sorted(MESSAGES.values(), key=lambda cls: cls.verb)).flatmap(
    lambda cls: MESSAGE_VALUES.get(cls, st.builds(cls))
)


@given(messages)
def test_what_is_written_is_read(message: Message) -> None:
    line = message.format()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert parse_message(line[:-1]) == message


@given(st.binary(max_size=80))
@example(b"AUTH a b c")
@example(b"BYPASS a\rb")
@example(b"CHECKPRESENT WORM--a\r\r")
def test_any_line_is_read_or_refused(line: bytes) -> None:
    try:
        message = parse_message(line)
    except UnparsableMessage:
        return
    assert parse_message(message.format()[:-1]) == message


pieces = st.sampled_from([b" ", b"  ", b"/", b"%", b"%%", b"0", b"-1", b"9" * 30, RAW, b"\r", b"\0", b"\xff", b"u"])
almost_lines = st.builds(
    lambda verb, rest: verb + b"".join(rest), st.sampled_from(sorted(MESSAGES)), st.lists(pieces, max_size=6)
)


@given(almost_lines)
def test_almost_lines_are_read_or_refused(line: bytes) -> None:
    try:
        message = parse_message(line)
    except UnparsableMessage:
        return
    formatted = message.format()[:-1]
    again = parse_message(formatted)
    if isinstance(message, Put | Get):  # escaping loses what the escapes were
        assert isinstance(again, Put | Get)
        again = evolve(again, file=message.file)
    if isinstance(message, Error):  # text for people is written without what could break a line
        message = Error(message.message.translate({0: " ", 13: " "}))
    assert again == message


UNWRITABLE = [
    Data(-1),
    Version(-1),
    AuthSuccess(""),
    AuthSuccess("a b"),
    Auth("u", "a\nERROR x"),
    Bypass(("u v",)),
    Bypass(("",)),
    Changed(("a\r",)),
    CheckPresent(Key(b"WORM--a\r")),
    UnlockContent(Key(b"WORM--a\r")),
    CheckPresent(Key(b"WORM--" + b"x" * MAX_LINE)),
    Connect("rm"),
]


@pytest.mark.parametrize("message", UNWRITABLE, ids=lambda message: message.verb.decode())
def test_what_no_line_can_carry(message: Message) -> None:
    with pytest.raises(ValueError):
        message.format()


def test_longest_line() -> None:
    longest = CheckPresent(Key(b"WORM--" + b"x" * (MAX_LINE - len("CHECKPRESENT WORM--\n"))))
    assert len(longest.format()) == MAX_LINE == 32768
    with pytest.raises(ValueError):
        CheckPresent(Key(longest.key.raw + b"x")).format()


def test_text_for_people_stays_one_short_line() -> None:
    assert Error("one\ntwo\rthree\0four").format() == b"ERROR one two three four\n"
    assert len(Error("é" * 100_000).format()) < 4096
    assert parse_message(Error("é" * 100_000).format()[:-1])


def test_tokens_are_not_shown() -> None:
    assert "secret" not in repr(Auth("u", "secret"))


# 2.3: associated files ---------------------------------------------------------------------------------------------

ESCAPES = [  # the name, as it is written, as it is read
    (None, b"", None),
    (b"", b"", None),
    (b"a/b", b"a/b", b"a/b"),
    (b"a b", b"a%b", b"a_b"),
    (b"a%b", b"a%%b", b"a%b"),
    (b"%%", b"%%%%", b"%%"),
    (b"a\tb\nc\rd", b"a%b%c%d", b"a_b_c_d"),
    (b"% ", b"%%%", b"%_"),
    (b"../x", b"../x", b"../x"),
    (b"/absolute", b"", None),
    (b"\xff\xc3\xa9", b"\xff\xc3\xa9", b"\xff\xc3\xa9"),
]


@pytest.mark.parametrize(("name", "written", "read"), ESCAPES)
def test_associated_files(name: bytes | None, written: bytes, read: bytes | None) -> None:
    assert format_associated_file(name) == written
    assert parse_associated_file(written) == read


@pytest.mark.parametrize(("written", "read"), [(b"%", b"_"), (b"%%", b"%"), (b"\x1b[31m", b"_[31m"), (b"\x7f", b"_")])
def test_control_characters_are_read_as_underscores(written: bytes, read: bytes) -> None:
    assert parse_associated_file(written) == read


def test_an_absolute_associated_file_is_refused() -> None:
    with pytest.raises(ValueError):
        parse_associated_file(b"/x")


@given(st.binary(max_size=60).filter(lambda name: not name.startswith(b"/") and b"\0" not in name))
def test_associated_files_hold_no_white_space(name: bytes) -> None:
    written = format_associated_file(name)
    assert not set(written) & set(b" \t\n\r\v\f")
    read = parse_associated_file(written)
    control = bytes(range(33)) + b"\x7f"
    if not set(name) & set(control):
        assert read == (name or None)
    else:
        assert read is not None
        assert not set(read) & set(control)
        assert read.strip(b"_%") or not name.strip(control + b"_%")
