"""Verification of content against its key, for every backend."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pannex.keys.key import Key, hash_backend_names
from p2pannex.transfer.file_keys import key_for_file
from tests.support.keys import HELLO_SHA256

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

contents = st.binary(max_size=3000)

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
    assert (verifier.conclusive, key.missing_hash) == (True, None)
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
    assert not verifier.conclusive
    assert not verifier.valid()
    verifier.update(b"hello")
    assert verifier.valid()
    verifier.update(b"!")
    assert not verifier.valid()
    assert verdict(Key.make(backend, b"x"), b"anything")


@pytest.mark.parametrize("fields", ["-s5-S2-C1", "-s5-S2-C3", "-s5-S2-C9", "-s5-S2-C0", "-s5-S2", "-s5-C1", "-S2-C1"])
def test_chunk_fields_do_not_change_what_the_content_is(fields: str) -> None:
    """As in git-annex (tests/compat/test_keys_compat.py): size and digest are those of the whole content."""
    key = Key.parse(b"SHA256%b--%b" % (fields.encode(), HELLO_SHA256))
    assert key.size == key.verifier().size == (5 if "-s5" in fields else None)
    assert key.verifier().conclusive
    assert verdict(key, b"hello")
    for wrong in (b"", b"he", b"o", b"jello", b"hello!"):
        assert not verdict(key, wrong)


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
    key = Key.make(backend, b"x", size=5)
    verifier = key.verifier()
    assert not verifier.conclusive
    assert f"pip install {package}" in (key.missing_hash or "")
    verifier.update(b"hello")
    assert verifier.valid()
    assert backend not in hash_backend_names()
    (tmp_path / "x").write_bytes(b"hello")
    with pytest.raises(ValueError, match=rf"pip install {package}; supported backends: SHA256, SHA256E, .*, WORM$"):
        key_for_file(tmp_path / "x", backend)


@pytest.mark.parametrize("fields", ["", "-s5", "-s5-S2-C1", "-S2-C1"])
@pytest.mark.parametrize("suffix", ["", "E"])
def test_keys_whose_hash_is_missing_say_what_to_install(
    fields: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every backend of git-annex that has a digest either verifies its content or says why it cannot."""
    monkeypatch.setitem(sys.modules, "blake3", None)
    monkeypatch.setitem(sys.modules, "xxhash", None)
    for backend, words in {
        "BLAKE3_256": "pip install blake3",
        "XXH3": "pip install xxhash",
        "SKEIN256": "cannot compute SKEIN256",
        "SKEIN512": "cannot compute SKEIN512",
        "BLAKE2SP224": "cannot compute BLAKE2SP224",
    }.items():
        assert words in (Key.parse(f"{backend}{suffix}{fields}--x").missing_hash or "")
    for backend in [*hash_backend_names(), "WORM", "URL", "VURL", "GITBUNDLE", "GITMANIFEST", "XFOO", "XFOOE", "FOO"]:
        assert Key.parse(f"{backend}{fields}--x").missing_hash is None


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


def test_keys_are_there_before_hashes_are() -> None:
    """Reading a key must not wait for the import of what only its verification needs."""
    program = (
        "import sys, p2pannex; before = set(sys.modules); import p2pannex.keys.key as k;"
        "k.Key.parse(b'A--a').file_name; print(*set(sys.modules) - before)"
    )
    imported = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not {"re", "typing", "attrs", "blake3", "xxhash"} & set(imported.split())
