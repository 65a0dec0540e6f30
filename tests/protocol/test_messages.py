"""protocol-spec section 2: lines, and what they say."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from p2pannex.keys.key import Key
from p2pannex.protocol import messages as m
from p2pannex.terminal import safe
from tests.support.keys import HELLO_KEY as K

SPACED = Key(b"WORM-s3--a b  c")
RAW = K.raw

# 2.1, 2.2: every message as it is written --------------------------------------------------------------------------

LINES: list[tuple[bytes, m.Message, int]] = [
    (b"AUTH u t", m.Auth("u", "t"), 0),
    (b"AUTH-SUCCESS u", m.AuthSuccess("u"), 0),
    (b"AUTH-FAILURE", m.AuthFailure(), 0),
    (b"VERSION 4", m.Version(4), 0),
    (b"CONNECT git-upload-pack", m.Connect("git-upload-pack"), 0),
    (b"CONNECT git-receive-pack", m.Connect("git-receive-pack"), 0),
    (b"CONNECTDONE 0", m.ConnectDone(0), 0),
    (b"CONNECTDONE -1", m.ConnectDone(-1), 0),
    (b"NOTIFYCHANGE", m.NotifyChange(), 0),
    (b"CHANGED a b", m.Changed(("a", "b")), 0),
    (b"CHANGED", m.Changed(()), 0),
    (b"CHECKPRESENT " + RAW, m.CheckPresent(K), 0),
    (b"CHECKPRESENT WORM-s3--a b  c", m.CheckPresent(SPACED), 0),
    (b"LOCKCONTENT " + RAW, m.LockContent(K), 0),
    (b"UNLOCKCONTENT", m.UnlockContent(), 0),
    (b"UNLOCKCONTENT " + RAW, m.UnlockContent(K), 0),
    (b"REMOVE " + RAW, m.Remove(K), 0),
    (b"GET 0  " + RAW, m.Get(0, None, K), 0),
    (b"GET 17 a/b " + RAW, m.Get(17, b"a/b", K), 0),
    (b"GET 17 a/b WORM-s3--a b  c", m.Get(17, b"a/b", SPACED), 0),
    (b"PUT  " + RAW, m.Put(None, K), 0),
    (b"PUT -x WORM-s3--a b  c", m.Put(b"-x", SPACED), 0),
    (b"PUT-FROM 5", m.PutFrom(5), 0),
    (b"ALREADY-HAVE", m.AlreadyHaveReply(), 0),
    (b"SUCCESS", m.Success(), 0),
    (b"FAILURE", m.Failure(), 0),
    (b"DATA 12345678901234567", m.Data(12345678901234567), 0),
    (b"ERROR it is  broken ", m.Error("it is  broken "), 0),
    (b"ERROR", m.Error(""), 0),
    (b"VALID", m.Valid(), 1),
    (b"INVALID", m.Invalid(), 1),
    (b"BYPASS", m.Bypass(()), 2),
    (b"BYPASS u v", m.Bypass(("u", "v")), 2),
    (b"ALREADY-HAVE-PLUS u", m.AlreadyHavePlusReply(("u",)), 2),
    (b"SUCCESS-PLUS", m.SuccessPlus(()), 2),
    (b"SUCCESS-PLUS u v w", m.SuccessPlus(("u", "v", "w")), 2),
    (b"FAILURE-PLUS u", m.FailurePlus(("u",)), 2),
    (b"REMOVE-BEFORE 99 " + RAW, m.RemoveBefore(99, K), 3),
    (b"GETTIMESTAMP", m.GetTimestamp(), 3),
    (b"TIMESTAMP 7", m.Timestamp(7), 3),
    (b"DATA-PRESENT", m.DataPresent(), 4),
]


@pytest.mark.parametrize(("line", "message", "since"), LINES, ids=[repr(line[:30]) for line, _, _ in LINES])
def test_written_and_read(line: bytes, message: m.Message, since: int) -> None:
    assert m.parse_message(line) == message
    assert message.format() == line + b"\n"
    assert message.since == since
    assert m.parse_message(line + b"\r") == message


def test_the_lines_above_are_all_there_are() -> None:
    assert {type(message) for _, message, _ in LINES} == set(m.MESSAGES.values())
    assert all(m.MESSAGES[verb].verb == verb for verb in m.MESSAGES)


LENIENT: list[tuple[bytes, m.Message]] = [
    (b"GETTIMESTAMP ", m.GetTimestamp()),
    (b"UNLOCKCONTENT ", m.UnlockContent()),
    (b"BYPASS  u   v ", m.Bypass(("u", "v"))),
    (b"VERSION 04", m.Version(4)),
    (b"CHECKPRESENT SHA256-s05--x", m.CheckPresent(Key(b"SHA256-s5--x"))),
    (b"ERROR ", m.Error("")),
]


@pytest.mark.parametrize(("line", "message"), LENIENT)
def test_read_though_never_written_so(line: bytes, message: m.Message) -> None:
    assert m.parse_message(line) == message


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
    with pytest.raises(m.UnparsableMessage):
        m.parse_message(line)


@pytest.mark.parametrize("line", [b"\xd9\xa3", "VERSION ٣".encode(), "DATA ³".encode()])
def test_digits_are_ascii(line: bytes) -> None:
    with pytest.raises(m.UnparsableMessage):
        m.parse_message(line)


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

MESSAGE_VALUES: dict[type[m.Message], st.SearchStrategy[m.Message]] = {
    m.Auth: st.builds(m.Auth, word_texts, word_texts),
    m.AuthSuccess: st.builds(m.AuthSuccess, word_texts),
    m.Version: st.builds(m.Version, numbers),
    m.Bypass: st.builds(m.Bypass, word_tuples),
    m.Connect: st.builds(m.Connect, st.sampled_from(["git-upload-pack", "git-receive-pack"])),
    m.ConnectDone: st.builds(m.ConnectDone, st.integers(-255, 255)),
    m.Changed: st.builds(m.Changed, word_tuples),
    m.CheckPresent: st.builds(m.CheckPresent, keys),
    m.LockContent: st.builds(m.LockContent, keys),
    m.UnlockContent: st.builds(m.UnlockContent, st.none() | keys),
    m.Remove: st.builds(m.Remove, keys),
    m.RemoveBefore: st.builds(m.RemoveBefore, numbers, keys),
    m.Timestamp: st.builds(m.Timestamp, numbers),
    m.Get: st.builds(m.Get, numbers, plain_files, keys),
    m.Put: st.builds(m.Put, plain_files, keys),
    m.PutFrom: st.builds(m.PutFrom, numbers),
    m.AlreadyHavePlusReply: st.builds(m.AlreadyHavePlusReply, word_tuples),
    m.Data: st.builds(m.Data, numbers),
    m.SuccessPlus: st.builds(m.SuccessPlus, word_tuples),
    m.FailurePlus: st.builds(m.FailurePlus, word_tuples),
    m.Error: st.builds(m.Error, texts),
}
messages = st.sampled_from(sorted(m.MESSAGES.values(), key=lambda cls: cls.verb)).flatmap(
    lambda cls: MESSAGE_VALUES.get(cls, st.builds(cls))
)


@given(messages)
def test_what_is_written_is_read(message: m.Message) -> None:
    line = message.format()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    if isinstance(message, m.Error):
        message = m.Error(safe(message.message))
    assert m.parse_message(line[:-1]) == message


@given(st.binary(max_size=80))
@example(b"AUTH a b c")
@example(b"BYPASS a\rb")
@example(b"CHECKPRESENT WORM--a\r\r")
def test_any_line_is_read_or_refused(line: bytes) -> None:
    try:
        message = m.parse_message(line)
    except m.UnparsableMessage:
        return
    assert m.parse_message(message.format()[:-1]) == message


pieces = st.sampled_from([b" ", b"  ", b"/", b"%", b"%%", b"0", b"-1", b"9" * 30, RAW, b"\r", b"\0", b"\xff", b"u"])
almost_lines = st.builds(
    lambda verb, rest: verb + b"".join(rest), st.sampled_from(sorted(m.MESSAGES)), st.lists(pieces, max_size=6)
)


@given(almost_lines)
def test_almost_lines_are_read_or_refused(line: bytes) -> None:
    try:
        message = m.parse_message(line)
    except m.UnparsableMessage:
        return
    formatted = message.format()[:-1]
    again = m.parse_message(formatted)
    if isinstance(message, m.Put | m.Get):  # escaping loses what the escapes were
        assert isinstance(again, m.Put | m.Get)
        again = evolve(again, file=message.file)
    if isinstance(
        message, m.Error
    ):  # text for people is written without what could break a line, or command a terminal
        message = m.Error(safe(message.message))
    assert again == message


UNWRITABLE = [
    m.Data(-1),
    m.Version(-1),
    m.AuthSuccess(""),
    m.AuthSuccess("a b"),
    m.Auth("u", "a\nERROR x"),
    m.Bypass(("u v",)),
    m.Bypass(("",)),
    m.Changed(("a\r",)),
    m.CheckPresent(Key(b"WORM--a\r")),
    m.UnlockContent(Key(b"WORM--a\r")),
    m.CheckPresent(Key(b"WORM--" + b"x" * m.MAX_LINE)),
    m.Connect("rm"),
]


@pytest.mark.parametrize("message", UNWRITABLE, ids=lambda message: message.verb.decode())
def test_what_no_line_can_carry(message: m.Message) -> None:
    with pytest.raises(ValueError):
        message.format()


def test_longest_line() -> None:
    longest = m.CheckPresent(Key(b"WORM--" + b"x" * (m.MAX_LINE - len("CHECKPRESENT WORM--\n"))))
    assert len(longest.format()) == m.MAX_LINE == 32768
    with pytest.raises(ValueError):
        m.CheckPresent(Key(longest.key.raw + b"x")).format()


def test_text_for_people_stays_one_short_line() -> None:
    assert m.Error("one\ntwo\rthree\0four").format() == b"ERROR one two three four\n"
    assert len(m.Error("é" * 100_000).format()) < 4096
    assert m.parse_message(m.Error("é" * 100_000).format()[:-1])


def test_tokens_are_not_shown() -> None:
    assert "secret" not in repr(m.Auth("u", "secret"))


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
    assert m.format_associated_file(name) == written
    assert m.parse_associated_file(written) == read


@pytest.mark.parametrize(("written", "read"), [(b"%", b"_"), (b"%%", b"%"), (b"\x1b[31m", b"_[31m"), (b"\x7f", b"_")])
def test_control_characters_are_read_as_underscores(written: bytes, read: bytes) -> None:
    assert m.parse_associated_file(written) == read


def test_an_absolute_associated_file_is_refused() -> None:
    with pytest.raises(ValueError):
        m.parse_associated_file(b"/x")


@given(st.binary(max_size=60).filter(lambda name: not name.startswith(b"/") and b"\0" not in name))
def test_associated_files_hold_no_white_space(name: bytes) -> None:
    written = m.format_associated_file(name)
    assert not set(written) & set(b" \t\n\r\v\f")
    read = m.parse_associated_file(written)
    control = bytes(range(33)) + b"\x7f"
    if not set(name) & set(control):
        assert read == (name or None)
    else:
        assert read is not None
        assert not set(read) & set(control)
        assert read.strip(b"_%") or not name.strip(control + b"_%")
