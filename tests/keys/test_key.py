"""Keys: what is one, what follows from one, and which bytes are its content.

The expected values were given by git-annex 10.20261026; compat/test_keys_compat.py asks it again.
"""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pannex.keys.key import InvalidKey, Key
from tests.keys.strategies import backends

numbers = st.none() | st.integers(0, 2**63 - 1)

names = st.binary(min_size=1, max_size=60).filter(lambda name: b"\n" not in name and b"\0" not in name)
keys = st.builds(Key.make, backends, names, size=numbers, mtime=numbers, chunk_size=numbers, chunk_number=numbers)

# Parsing and formatting


@pytest.mark.parametrize(
    ("raw", "backend", "size", "mtime", "chunk_size", "chunk_number", "name"),
    [
        (b"SHA256E-s3--abc.txt", "SHA256E", 3, None, None, None, b"abc.txt"),
        (b"WORM-s3-m1700000000--a/b", "WORM", 3, 1700000000, None, None, b"a/b"),
        (b"A-s3-m5-S2-C1--a", "A", 3, 5, 2, 1, b"a"),
        (b"A-S2--a", "A", None, None, 2, None, b"a"),
        (b"A-C2--a", "A", None, None, None, 2, b"a"),
        (b"A-m5-C0--a", "A", None, 5, None, 0, b"a"),
        (b"A-s0--a", "A", 0, None, None, None, b"a"),
        (b"A-s99999999999999999999999--a", "A", 99999999999999999999999, None, None, None, b"a"),
        (b"A---a", "A", None, None, None, None, b"-a"),
        (b"A--b--c", "A", None, None, None, None, b"b--c"),
        (b"A--s3", "A", None, None, None, None, b"s3"),
        (b" a\t/--\x01 \r", " a\t/", None, None, None, None, b"\x01 \r"),
        (b"\xff--\xfe", "\udcff", None, None, None, None, b"\xfe"),
    ],
)
def test_parts(
    raw: bytes,
    backend: str,
    size: int | None,
    mtime: int | None,
    chunk_size: int | None,
    chunk_number: int | None,
    name: bytes,
) -> None:
    key = Key.parse(raw)
    assert bytes(key) == key.raw == raw
    assert (key.backend, key.size, key.mtime, key.name) == (backend, size, mtime, name)
    assert (key.chunk_size, key.chunk_number) == (chunk_size, chunk_number)
    assert Key.parse(str(key)) == key
    assert key == Key.make(backend, name, size=size, mtime=mtime, chunk_size=chunk_size, chunk_number=chunk_number)


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"-", b"--", b"foo", b"--a", b"-s3--a", b"A-", b"A-a", b"A-s3", b"A-s3-", b"A-s3-a"),
        *(b"A-m5-s3--a", b"A-C1-S2--a", b"A-S2-C1-s3--a", b"A-s3-S2-m5--a", b"A-s3-s3--a"),
        *(b"A-s--a", b"A-s-3--a", b"A-s+3--a", b"A-s 3--a", b"A-s3x--a", b"A-s0x1--a", b"A-s1_0--a"),
        *("A-s²--a", "A-s٣--a", b"A-x5--a", b"A-5--a", b"A-B--a", b"A-m5.5--a", b"A-m-5--a"),
        *(b"A--\n", b"A--a\nb", b"A\n--a", b"A--\0", b"A--a\0b", b"\0--a"),
        *(b"A--", b"A-s3--", b"A-m9223372036854775808--a", b"A-s" + b"1" * 641 + b"--a"),
        *(b"SHA256E--a." + b"b" * 64, b"FOOE--." + b"b" * 60 + b".abc", b"E--a" + b"." * 65),
        *("A--\ud800", "A--\udc7f"),
    ],
)
def test_not_a_key(raw: bytes | str) -> None:
    with pytest.raises(InvalidKey):
        Key.parse(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"SHA256E--a." + b"b" * 63,
        b"SHA256E--" + b"b" * 999,
        b"SHA256--a." + b"b" * 999,
        b"WORM--." + b"." * 999,
        b"GITBUNDLE--a." + b"b" * 999,
        b"e--." + b"b" * 999,
        b"A-s" + b"1" * 640 + b"--a",
    ],
)
def test_long_keys(raw: bytes) -> None:
    assert Key.parse(raw).raw == raw


def test_leading_zeros_are_dropped() -> None:
    key = Key.parse(b"A-s003-m00-S0-C01--007")
    assert key.raw == b"A-s3-m0-S0-C1--007"
    assert key == Key.parse(b"A-s3-m0-S0-C1--007")
    assert Key.parse(b"A-s" + b"0" * 9999 + b"5--a").size == 5


@pytest.mark.parametrize(
    ("backend", "name", "size"),
    [("", b"a", 3), ("A-s3", b"a", None), ("A", b"", None), ("A", b"a", -1), ("A", b"a\n", 3), ("\ud800", b"a", 3)],
)
def test_parts_that_make_no_key(backend: str, name: bytes, size: int | None) -> None:
    with pytest.raises(InvalidKey):
        Key.make(backend, name, size=size)


@given(keys)
def test_a_key_parses_to_itself(key: Key) -> None:
    for again in (Key.parse(key.raw), Key.parse(str(key)), Key.from_file_name(key.file_name)):
        assert again == key
        assert hash(again) == hash(key)
    assert pickle.loads(pickle.dumps(key)) == copy.deepcopy(key) == key


@given(st.binary(max_size=40) | st.from_regex(rb"[A-E-]{1,3}(-[smSC]0?[0-9]{1,3}){0,3}--[a.&%:/]{0,3}", fullmatch=True))
def test_what_parses_is_canonical(raw: bytes) -> None:
    try:
        key = Key.parse(raw)
    except InvalidKey:
        return
    assert Key.parse(key.raw).raw == key.raw
    assert key == Key.make(
        key.backend,
        key.name,
        size=key.size,
        mtime=key.mtime,
        chunk_size=key.chunk_size,
        chunk_number=key.chunk_number,
    )


@given(keys, keys)
def test_keys_compare_as_bytes(a: Key, b: Key) -> None:
    assert (a == b, a < b, a <= b, a > b) == (a.raw == b.raw, a.raw < b.raw, a.raw <= b.raw, a.raw > b.raw)


def test_a_key_is_no_other_thing() -> None:
    key = Key.parse(b"A--a")
    assert key != b"A--a"
    assert repr(key) == "Key(b'A--a')"
    with pytest.raises(TypeError):
        assert key < b"A--a"  # type: ignore[operator]
    with pytest.raises(AttributeError):
        key.raw = b"A--b"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        key.other = 1  # type: ignore[attr-defined]


# Files and directories


@pytest.mark.parametrize(
    ("raw", "lower", "mixed", "file_name"),
    [
        (b"SHA256E-s3--abc.txt", b"21a/f39", b"W1/kM", b"SHA256E-s3--abc.txt"),
        (b"SHA256-s3-m5-S2-C1--a/b:c&d%e", b"9ad/9f0", b"6M/Wx", b"SHA256-s3-m5-S2-C1--a%b&cc&ad&se"),
        (b"A-s5--a", b"feb/f5d", b"FP/JV", b"A-s5--a"),
        (b"A-s5-S2-C1--a", b"feb/f5d", b"FP/JV", b"A-s5-S2-C1--a"),
        (b"A-s5-C2--a", b"feb/f5d", b"FP/JV", b"A-s5-C2--a"),
        (b"S/%:&A--&c", b"da3/205", b"qM/1p", b"S%&s&c&aA--&ac"),
    ],
)
def test_where_content_is(raw: bytes, lower: bytes, mixed: bytes, file_name: bytes) -> None:
    key = Key.parse(raw)
    assert key.file_name == file_name
    assert Key.from_file_name(file_name) == key
    assert key.hashdir_lower == lower
    assert key.hashdir_mixed == mixed


@pytest.mark.parametrize(
    "name", [b"A--&x", b"A--&", b"A--&&", b"A--:", b"A--a/b", b"A-s03--a", b"A--", b"foo", b"", b"A--a\n", b"a/A--a"]
)
def test_not_a_file_name(name: bytes) -> None:
    with pytest.raises(InvalidKey):
        Key.from_file_name(name)


@given(st.binary(max_size=20) | st.from_regex(rb"A--[&ascx%:/]{1,6}", fullmatch=True))
def test_a_file_name_is_of_one_key(name: bytes) -> None:
    try:
        key = Key.from_file_name(name)
    except InvalidKey:
        return
    assert key.file_name == name
    assert b"/" not in name


def test_chunks() -> None:
    key = Key.parse(b"SHA256E-s5-m7--S-C.txt")
    assert key.without_chunk() is key
    for chunk in (b"SHA256E-s5-m7-S2-C1--S-C.txt", b"SHA256E-s5-m7-S2--S-C.txt", b"SHA256E-s5-m7-C2--S-C.txt"):
        assert Key.parse(chunk).without_chunk() == key
