"""Keys: what is one, what follows from one, and which bytes are its content.

The expected values were given by git-annex 10.20261026; compat/test_keys_compat.py asks it again.
"""

import copy
import hashlib
import itertools
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pannex.keys.key import InvalidKey, Key, hash_backend_names
from p2pannex.transfer.file_keys import key_for_file

HELLO_SHA256 = b"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

# What calckey says of a file that contains `hello`.
HELLO = {
    "MD5": b"5d41402abc4b2a76b9719d911017c592",
    "SHA1": b"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d",
    "SHA224": b"ea09ae9cc6768c50fcee903ed054556e5bfc8347907f12598aa24193",
    "SHA256": HELLO_SHA256,
    "SHA384": b"59e1748777448c69de6b800d7a33bbfb9ff1b463e44354c3553bcdb9c666fa90125a3c79f90397bdf5f6a13de828684f",
    "SHA512": b"9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca7"
    b"2323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043",
    "SHA3_224": b"b87f88c72702fff1748e58b87e9141a42c0dbedc29a78cb0d4a5cd81",
    "SHA3_256": b"3338be694f50c5f338814986cdf0686453a888b84f424d792af4b9202398f392",
    "SHA3_384": b"720aea11019ef06440fbf05d87aa24680a2153df3907b23631e7177ce620fa1330ff07c0fddee54699a4c3ee0ee9d887",
    "SHA3_512": b"75d527c368f2efe848ecf6b073a36767800805e9eef2b1857d5f984f036eb6df"
    b"891d75f72d9b154518c1cd58835286d1da9a38deba3de98b5a53e5ed78a84976",
    "BLAKE2B160": b"b5531c7037f06c9f2947132a6a77202c308e8939",
    "BLAKE2B224": b"a4963e4ea2aa9b4120672abfc4c4299ba365368fa5a3910d5c559fc5",
    "BLAKE2B256": b"324dcf027dd4a30a932c441f365a25e86b173defa4b8e58948253471b81b72cf",
    "BLAKE2B384": b"85f19170be541e7774da197c12ce959b91a280b2f23e3113d6638a3335507ed72ddc30f81244dbe9fa8d195c23bceb7e",
    "BLAKE2B512": b"e4cfa39a3d37be31c59609e807970799caa68a19bfaa15135f165085e01d41a6"
    b"5ba1e1b146aeb6bd0092b49eac214c103ccfa3a365954bbbe52f74a2b3620c94",
    "BLAKE2BP512": b"3d9b524855d3675f3ccbe8e189b3f00a2712ba7301f9b88a7e31aad491677745"
    b"9953a70f9c98869bc39872591c30e6dfa5b5decbfcf977c909db9f9f7e4441d1",
    "BLAKE2S160": b"0fee8bbc1b2b15579499fec667487059abd72794",
    "BLAKE2S224": b"ad56bacfd62714b275eb3a7988b428afb9b5e0926a3ef40eb5f0bbb7",
    "BLAKE2S256": b"19213bacc58dee6dbde3ceb9a47cbb330b3d86f8cca8997eb00be456f140ca25",
    "BLAKE2SP256": b"223dfe42565ddf97210b34a384860b603717d5c63c1872c9fc99f1b15de6631b",
    "BLAKE3_256": b"ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f",
    "XXH3": b"9555e8555c62dcfd",
}

numbers = st.none() | st.integers(0, 2**63 - 1)
backends = st.sampled_from(["SHA256E", "SHA256", "WORM", "URL", "XFOO", "GITBUNDLE", "x y", "é", "S/%:&A", "\udcff"])
names = st.binary(min_size=1, max_size=60).filter(lambda name: b"\n" not in name and b"\0" not in name)
keys = st.builds(Key.make, backends, names, size=numbers, mtime=numbers, chunk_size=numbers, chunk_number=numbers)
contents = st.binary(max_size=3000)


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


# Verification


def verdict(key: Key, *blocks: bytes | bytearray) -> bool:
    verifier = key.verifier()
    for block in blocks:
        verifier.update(block)
    return verifier.valid()


def test_the_table_has_every_backend() -> None:
    assert sorted(hash_backend_names()) == sorted([name + suffix for name in HELLO for suffix in ("", "E")])


@pytest.mark.parametrize("backend", hash_backend_names())
def test_digests(backend: str, tmp_path: Path) -> None:
    digest = HELLO[backend.removesuffix("E")]
    key = Key.make(backend, digest + b".tar.gz", size=5)
    verifier = key.verifier()
    assert (verifier.conclusive, verifier.missing_package) == (True, None)
    assert (verifier.received, verifier.valid()) == (0, False)
    verifier.update(bytearray(b"he"))
    assert (verifier.received, verifier.valid()) == (2, False)
    verifier.update(memoryview(b"llo"))
    assert (verifier.received, verifier.valid(), verifier.valid()) == (5, True, True)
    verifier.update(b"!")
    assert (verifier.received, verifier.valid()) == (6, False)
    assert not verdict(key, b"jello")

    path = tmp_path / "hello.txt"
    path.write_bytes(b"hello")
    extension = b".txt" if backend.endswith("E") else b""
    assert key_for_file(path, backend) == Key.make(backend, digest + extension, size=5)


@pytest.mark.parametrize(
    ("key", "valid"),
    [
        (b"SHA256--" + HELLO_SHA256, True),
        (b"SHA256-s6--" + HELLO_SHA256, False),
        (b"SHA256-s5--" + HELLO_SHA256 + b".txt", True),
        (b"SHA256E-s5--" + HELLO_SHA256 + b"..", True),
        (b"SHA256E-s5--\\" + HELLO_SHA256 + b".txt", True),
        (b"SHA256-s5--\\\\" + HELLO_SHA256, False),
        (b"SHA256-s5--" + HELLO_SHA256.upper(), False),
        (b"SHA256-s5--" + HELLO_SHA256[:-1], False),
        (b"SHA256-s5--" + HELLO_SHA256 + b"-x", False),
        (b"SHA256-s5--." + HELLO_SHA256, False),
        (b"GITBUNDLE-s5--8a7a3b0f-6a1b-44c2-a10c-000000000000-" + HELLO_SHA256, True),
        (b"GITBUNDLE-s5--" + HELLO_SHA256, True),
        (b"GITBUNDLE-s5--x.y-" + HELLO_SHA256, True),
        (b"GITBUNDLE-s6--x-" + HELLO_SHA256, False),
        (b"GITBUNDLE-s5--x-" + HELLO_SHA256 + b".txt", False),
        (b"GITBUNDLE-s5--x-\\" + HELLO_SHA256, False),
        (b"GITBUNDLE-s5--x" + HELLO_SHA256, False),
    ],
)
def test_digests_in_odd_names(key: bytes, valid: bool) -> None:
    assert Key.parse(key).verifier().conclusive
    assert verdict(Key.parse(key), b"hello") is valid


@pytest.mark.parametrize(
    "backend",
    [
        *("WORM", "URL", "VURL", "GITMANIFEST", "GITBUNDLEE", "XFOO", "XFOOE", "FOO", "GPGHMACSHA1"),
        *("SKEIN256", "SKEIN512E", "BLAKE2SP224", "BLAKE2SP224E", "SHA512_256", "SHA257", "SHA256EE", "sha256"),
    ],
)
def test_backends_that_say_no_more_than_the_size(backend: str) -> None:
    verifier = Key.make(backend, b"x", size=5).verifier()
    assert (verifier.conclusive, verifier.missing_package) == (False, None)
    assert not verifier.valid()
    verifier.update(b"hello")
    assert verifier.valid()
    verifier.update(b"!")
    assert not verifier.valid()
    assert verdict(Key.make(backend, b"x"), b"anything")


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ("-s5-S2-C1", 2),
        ("-s5-S2-C3", 1),
        ("-s5-S2-C4", 0),
        ("-s5-S9-C1", 5),
        ("-s5-S2-C0", None),
        ("-s5-S2", None),
        ("-s5-C1", None),
        ("-S2-C1", None),
    ],
)
def test_of_a_chunk_only_the_size_is_known(fields: str, size: int | None) -> None:
    verifier = Key.parse(f"SHA256{fields}--x").verifier()
    assert not verifier.conclusive
    assert verifier.size == size
    verifier.update(bytes(size or 0))
    assert verifier.valid()
    verifier.update(b"!")
    assert verifier.valid() is (size is None)


@given(contents, st.lists(st.integers(0, 3000), max_size=8), st.sampled_from(hash_backend_names()))
def test_any_division_into_blocks_gives_the_same_verdict(content: bytes, cuts: list[int], backend: str) -> None:
    key = key_for_bytes(content, backend)
    edges = [0, *sorted(cuts), len(content)]
    blocks = [content[a:b] for a, b in itertools.pairwise(edges)]
    assert b"".join(blocks) == content
    assert verdict(key, *blocks)


@given(contents, contents, st.sampled_from(hash_backend_names()))
def test_other_content_is_not_valid(content: bytes, other: bytes, backend: str) -> None:
    key = key_for_bytes(content, backend)
    assert verdict(key, other) is (content == other)
    assert verdict(Key.make(backend, key.name), other) is (content == other)


@given(contents.filter(len), st.data(), st.sampled_from(hash_backend_names()))
def test_a_changed_bit_is_noticed(content: bytes, data: st.DataObject, backend: str) -> None:
    changed = bytearray(content)
    changed[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert not verdict(key_for_bytes(content, backend), changed)


@given(st.lists(st.integers(0, 1100), max_size=6), st.sampled_from(["BLAKE2BP512", "BLAKE2SP256"]))
def test_the_trees_do_not_depend_on_blocks(lengths: list[int], backend: str) -> None:
    blocks = [bytes([i]) * length for i, length in enumerate(lengths)]
    key = key_for_bytes(b"".join(blocks), backend)
    verifier = key.verifier()
    for block in blocks:
        verifier.update(block)
        verifier.valid()  # which must not disturb what is being computed
    assert verifier.valid()


def key_for_bytes(content: bytes, backend: str) -> Key:
    with open(descriptor := os.memfd_create("content"), "wb", closefd=False) as file:
        file.write(content)
    try:
        return key_for_file(f"/proc/self/fd/{descriptor}", backend)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(("backend", "package"), [("BLAKE3_256", "blake3"), ("XXH3E", "xxhash")])
def test_without_the_package(backend: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    verifier = Key.make(backend, b"x", size=5).verifier()
    assert (verifier.conclusive, verifier.missing_package) == (False, package)
    verifier.update(b"hello")
    assert verifier.valid()
    assert backend not in hash_backend_names()
    (tmp_path / "x").write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"supported backends: SHA256, SHA256E, .*, WORM$"):
        key_for_file(tmp_path / "x", backend)


@pytest.mark.parametrize(
    ("secure", "backends"),
    [
        (True, "SHA224 SHA256E SHA384 SHA512E SHA3_256 SHA3_512E SKEIN256 SKEIN512E GITBUNDLE VURL"),
        (True, "BLAKE2B160 BLAKE2B512E BLAKE2BP512 BLAKE2S224E BLAKE2SP224 BLAKE2SP256E BLAKE3_256E"),
        (False, "SHA1 SHA1E MD5 MD5E XXH3 XXH3E WORM URL GITMANIFEST XFOO XFOOE FOO sha256 SHA2 GITBUNDLEE VURLE"),
    ],
)
def test_cryptographically_secure(secure: bool, backends: str) -> None:
    for backend in backends.split():
        assert Key.make(backend, b"x").cryptographically_secure is secure, backend


# Keys of files


@pytest.mark.parametrize(
    ("name", "extensions"),
    [
        *[("a", ""), ("a.txt", ".txt"), ("a.tar.gz", ".tar.gz"), ("a.tar.gz.xz", ".gz.xz"), ("a.TXT", ".TXT")],
        *[(".txt", ""), ("..a", ""), (".a.txt", ".txt"), (".tar.gz", ".gz"), ("...a.b", ".b")],
        *[("a.", ""), ("a..", ""), ("a.b.", ".b"), ("a..b", ".b"), ("a.b..c", ".c"), ("a.b.c.", ".c")],
        *[("a.abcd", ".abcd"), ("a.abcde", ""), ("a.abcde.abcd", ".abcd"), ("a.abcd.abcde", "")],
        *[("a.éé", ".éé"), ("a.ééé", ""), ("a.日", ".日"), ("a.日本", ""), ("a.\xa0", ".\xa0")],
        *[("a.\udcff", ".\udcff"), ("a.b c", ""), ("a.b,c", ""), ("a.b~", ""), ("a.a_b", ""), ("a. b", "")],
        *[("a.tar.$b", ".tar"), ("a.x.tar.b$", ".x.tar"), ("a.b.abcde.c", ".c"), ("a.b.$bcde.c", ".c")],
    ],
)
def test_extensions(name: str, extensions: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"hello")
    expected = b"SHA256E-s5--" + HELLO_SHA256 + os.fsencode(extensions)
    assert key_for_file(path).raw == key_for_file(os.fsencode(path)).raw == expected


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"sub/dir.x/f", b"sub/dir.x/f"),
        (b"./sub//f", b"sub/f"),
        (b"a b,c%d:e&f", b"a,32b,,c%d:e,38f"),
        ("é日\udcff\n".encode(errors="surrogateescape"), b",233,26085,56575,10"),
        (b"y" * 64, b"y" * 64),
        (b"y" * 65, b"y" * 31 + b"-" + hashlib.md5(b"y" * 65).hexdigest().encode()),
        (b" " * 64, b",32" * 64),
    ],
)
def test_worm(path: bytes, name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.makedirs(os.path.dirname(path) or b".", exist_ok=True)
    with open(path, "wb") as file:
        file.write(b"hello")
    os.utime(path, ns=(0, 1_700_000_000_999_999_999))
    expected = Key.make("WORM", name, size=5, mtime=1_700_000_000)
    assert key_for_file(path, "WORM") == key_for_file(os.path.abspath(path), "WORM") == expected


def test_worm_of_a_time_before_1970(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    os.utime(tmp_path / "x", (0, -1))
    with pytest.raises(InvalidKey):
        key_for_file(tmp_path / "x", "WORM")


def test_progress(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "x").write_bytes(content)
    seen: list[int] = []
    key = key_for_file(tmp_path / "x", progress=seen.append)
    assert seen == [1 << 20, 2 << 20, len(content)]
    assert key.name.decode() == hashlib.sha256(content).hexdigest()
    assert key_for_file(tmp_path / "x", "WORM", seen.append).size == len(content)
    assert len(seen) == 3


@pytest.mark.parametrize(
    "backend", ["URL", "VURL", "GITBUNDLE", "SKEIN256E", "BLAKE2SP224", "XFOO", "WORME", "sha256", ""]
)
def test_no_key_for_a_file(backend: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(ValueError, match=r"supported backends: SHA256, SHA256E, .*, XXH3E, WORM$"):
        key_for_file(tmp_path / "x", backend)


@pytest.mark.parametrize("backend", ["SHA256", "WORM"])
def test_no_file(backend: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        key_for_file(tmp_path / "x", backend)
    with pytest.raises(IsADirectoryError):
        key_for_file(tmp_path, backend)


def test_keys_are_there_before_hashes_are() -> None:
    """Reading a key must not wait for the import of what only its verification needs."""
    program = (
        "import sys, p2pannex; before = set(sys.modules); import p2pannex.keys.key as k;"
        "k.Key.parse(b'A--a').file_name; print(*set(sys.modules) - before)"
    )
    imported = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not {"re", "typing", "attrs", "blake3", "xxhash"} & set(imported.split())
