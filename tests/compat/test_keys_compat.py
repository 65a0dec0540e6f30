"""Keys against the real git-annex: it is asked about every kind of key, and must say what we say.

Three of its programs answer: `p2pstdio` says whether it can parse a key, whether a content is a key's and
whether annex.securehashesonly blocks it; `examinekey` takes keys apart; `calckey` makes keys of files.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from p2pannex.keys.key import InvalidKey, Key, hash_backend_names
from p2pannex.transfer.file_keys import key_for_file

pytestmark = pytest.mark.compat

# One process answers all the examples of a test, so a slow one is no reason to stop.
oracle = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Annex:
    """A git-annex repository, and the environment to run programs on it."""

    path: Path
    environment: dict[str, str]

    def run(self, *command: str | bytes, stdin: bytes = b"") -> bytes:
        done = subprocess.run(command, cwd=self.path, env=self.environment, input=stdin, capture_output=True)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    @contextlib.contextmanager
    def talk(self, *command: str) -> Iterator["Talk"]:
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, cwd=self.path, env=self.environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                yield Talk(process.stdin, process.stdout)
            finally:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()

    @contextlib.contextmanager
    def p2p(self) -> Iterator["Talk"]:
        with self.talk("git-annex-shell", "p2pstdio", str(self.path), "5c7d4ae4-0000-4000-8000-000000000001") as talk:
            assert talk.answer().startswith(b"AUTH-SUCCESS ")
            assert talk.ask(b"VERSION 4\n") == b"VERSION 4"
            yield talk


@dataclass(frozen=True)
class Talk:
    stdin: IO[bytes]
    stdout: IO[bytes]

    def ask(self, question: bytes) -> bytes:
        self.stdin.write(question)
        self.stdin.flush()
        return self.answer()

    def answer(self) -> bytes:
        """The next line; empty at the end."""
        return self.stdout.readline().removesuffix(b"\n")

    def parses(self, key: bytes) -> bool:
        return self.ask(b"CHECKPRESENT " + key + b"\n") in (b"SUCCESS", b"FAILURE")

    def put(self, key: bytes, content: bytes) -> bytes:
        assert self.ask(b"PUT  " + key + b"\n") == b"PUT-FROM 0"
        # INVALID has the server compare the content with the key, whatever it thinks of its source.
        return self.ask(b"DATA %d\n%sINVALID\n" % (len(content), content))


@pytest.fixture(scope="module")
def annex(tmp_path_factory: pytest.TempPathFactory) -> Annex:
    search = os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", os.defpath)
    if shutil.which("git-annex", path=search) is None:
        pytest.fail("git-annex is not installed; `pip install git-annex` brings it", pytrace=False)
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text("[user]\n\tname = tester\n\temail = tester@example.com\n")
    environment = {"PATH": search, "HOME": str(home), "LC_ALL": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1"}
    annex = Annex(tmp_path_factory.mktemp("annex"), environment)
    annex.run("git", "init", "--quiet")
    annex.run("git", "annex", "init", "--quiet", "tester")
    return annex


@pytest.fixture(scope="module")
def p2p(annex: Annex) -> Iterator[Talk]:
    with annex.p2p() as talk:
        yield talk


# Parsing

some_backends = st.sampled_from(
    [b"SHA256E", b"WORM", b"A", b"E", b"XFOOE", b"GITBUNDLE", b"s3", b"\xff", b"a /%:&", b""]
)
some_fields = st.builds(
    lambda letter, digits: letter + digits,
    st.sampled_from([b"-s", b"-m", b"-S", b"-C", b"-x", b"-", b"s", b""]),
    st.sampled_from([b"0", b"3", b"007", b"9223372036854775807", b"18446744073709551616", b"", b"-1", b"+1", b"1.5"]),
)
some_names = st.one_of(
    st.binary(max_size=12).map(lambda name: name.replace(b"\n", b"")),
    st.lists(st.sampled_from([b".", b"a", b"-", b"/", b"b" * 31, b"c" * 61]), max_size=8).map(b"".join),
)
almost_keys = st.builds(
    lambda backend, fields, separator, name: backend + b"".join(fields) + separator + name,
    some_backends,
    st.lists(some_fields, max_size=3) | st.permutations([b"-s5", b"-m5", b"-S5", b"-C5"]).map(lambda f: f[:3]),
    st.sampled_from([b"--", b"--", b"--", b"-", b"---", b""]),
    some_names,
)


@given(almost_keys)
@example(b"SHA256E--a." + b"b" * 63)
@example(b"SHA256E--a." + b"b" * 64)
@example(b"A-s" + b"1" * 640 + b"--a")
@settings(oracle, max_examples=1000)
def test_we_parse_what_git_annex_parses(p2p: Talk, raw: bytes) -> None:
    try:
        Key.parse(raw)
    except InvalidKey as error:
        # These it would take: see the beginning of keys.py.
        ours_alone = raw.endswith(b"--") or b"\0" in raw or "is too large" in str(error)
        assert ours_alone or not p2p.parses(raw)
    else:
        assert p2p.parses(raw)


@pytest.mark.parametrize("raw", [b"A--", b"A--\0", b"A-s" + b"1" * 641 + b"--a", b"A-m9223372036854775808--a"])
def test_what_we_refuse_on_purpose(p2p: Talk, raw: bytes) -> None:
    assert p2p.parses(raw)
    with pytest.raises(InvalidKey):
        Key.parse(raw)


numbers = st.none() | st.integers(0, 2**63 - 1)
# No space: examinekey takes what follows it for a file's name.
examinable_names = st.binary(min_size=1, max_size=60).filter(lambda name: not set(name) & set(b" \n\0"))
examinable_keys = st.builds(
    Key.make,
    st.sampled_from(["SHA256E", "SHA256", "WORM", "URL", "XFOO", "GITBUNDLE", "é", "S/%:&A", "\udcff"]),
    examinable_names.filter(lambda name: len(name.partition(b".")[2]) < 64),
    size=numbers,
    mtime=numbers,
    chunk_size=numbers,
    chunk_number=numbers,
)


@given(st.lists(examinable_keys, min_size=50, max_size=50))
@settings(oracle, max_examples=10)
def test_what_follows_from_a_key(annex: Annex, keys: list[Key]) -> None:
    fields = ["key", "backend", "bytesize", "mtime", "keyname", "hashdirlower", "hashdirmixed", "objectpath"]
    form = "".join([f"${{{field}}}\\000" for field in fields])
    answers = annex.run("git", "annex", "examinekey", f"--format={form}", "--", *[key.raw for key in keys]).split(b"\0")
    for i, key in enumerate(keys):
        raw, backend, size, mtime, name, lower, mixed, path = answers[i * len(fields) :][: len(fields)]
        assert raw == key.raw
        assert backend.decode("utf-8", "surrogateescape") == key.backend
        assert name == key.name
        assert size == (b"unknown" if key.size is None else b"%d" % key.size)
        assert mtime == (b"unknown" if key.mtime is None else b"%d" % key.mtime)
        assert lower == key.hashdir_lower + b"/"
        assert mixed == key.hashdir_mixed + b"/"
        assert path == b"/".join([b".git/annex/objects", key.hashdir_mixed, key.file_name, key.file_name])


@pytest.mark.parametrize("raw", [b"A-s003--a", b"A-m007--a", b"A-s05-S02-C01--a"])
def test_leading_zeros(annex: Annex, raw: bytes) -> None:
    assert Key.parse(raw).raw == annex.run("git", "annex", "examinekey", "--format=${key}", raw)


def test_where_git_annex_keeps_a_key_with_spaces(annex: Annex, p2p: Talk) -> None:
    key = Key.parse(b" A -s2-- a/b \t%&:")
    assert p2p.put(key.raw, b"hi") == b"SUCCESS"
    path = os.fsencode(annex.path) + b"/.git/annex/objects/" + key.hashdir_mixed + 2 * (b"/" + key.file_name)
    with open(path, "rb") as file:
        assert file.read() == b"hi"
    assert p2p.ask(b"REMOVE " + key.raw + b"\n") == b"SUCCESS"


# Verification

HELLO = b"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.mark.parametrize("key", [
    *(b"SHA256--%s", b"SHA256-s5--%s", b"SHA256-s6--%s", b"SHA256E-s5--%s.tar.gz", b"SHA256-s5--%s.txt"),
    *(b"SHA256E-s5--%s-txt", b"SHA256-s5--.%s", b"SHA256-s5--\\%s", b"SHA256E-s5--\\%s.txt", b"SHA256-s5--\\\\%s"),
    *(b"SHA256-s5--%sx", b"SHA256-s5--x%s", b"SHA256-s5--x\\%s", b"SHA256-s5--%s\\", b"SHA256-s5-m3--%s"),
    *(b"GITBUNDLE--%s", b"GITBUNDLE-s5--a-b-%s", b"GITBUNDLE-s5--a%s", b"GITBUNDLE-s5--a-%s.txt"),
    *(b"GITBUNDLE-s5--a-%s-b", b"GITBUNDLE-s5--a.b-%s", b"GITBUNDLE-s5--a-\\%s", b"GITBUNDLE-s6--a-%s"),
    *(b"WORM-s5--%s", b"WORM-s6--%s", b"URL-s6--%s", b"VURL-s5--%s", b"GITMANIFEST-s6--%s", b"FOO-s6--%s"),
    *(b"SHA256-s5-S2-C1--%s", b"SHA256-s5-S2-C3--%s", b"SHA256-s5-S2-C9--%s", b"SHA256-S2-C1--%s", b"SHA256-s5-C1--%s"),
    *(b"SHA256E-s6-S3-C1--%s.txt", b"WORM-s5-S2-C1--%s", b"WORM-s6-S5-C1--%s", b"WORM-S5-C1--%s"),
    *(b"FOO-s5--%s", b"sha256-s5--x%s", b"SHA257-s5--%s", b"XFOO-s5--%s", b"XFOO-s6--%s", b"MD5-s5--%s"),
])  # fmt: skip
def test_what_is_the_content_of_a_key(p2p: Talk, key: bytes) -> None:
    for raw in {key % HELLO, key % HELLO.upper(), key % HELLO[:-1]}:
        verifier = Key.parse(raw).verifier()
        verifier.update(b"hello")
        assert verifier.valid() is (p2p.put(raw, b"hello") == b"SUCCESS")
        p2p.ask(b"REMOVE " + raw + b"\n")


def test_git_annex_does_not_store_a_chunk_of_the_content(p2p: Talk) -> None:
    """The key of a chunk stands for the whole content, so that one size holds for every request."""
    for fields, content in ((b"-s5-S2-C1", b"he"), (b"-s5-S2-C3", b"o"), (b"-S2-C1", b"he"), (b"-s5-S2-C1", b"jello")):
        raw = b"SHA256%s--%s" % (fields, HELLO)
        verifier = Key.parse(raw).verifier()
        verifier.update(content)
        assert not verifier.valid()
        assert p2p.put(raw, content) == b"FAILURE"
        assert p2p.ask(b"CHECKPRESENT " + raw + b"\n") == b"FAILURE"


def test_secure_hashes_only(annex: Annex) -> None:
    """It closes the connection after the content of a key that it must not have."""
    secure = (
        "SHA224E SHA512 SHA3_256E SKEIN512 GITBUNDLE VURL BLAKE2B160E BLAKE2BP512 BLAKE2S224 BLAKE2SP224E BLAKE3_256"
    )
    insecure = "SHA1 MD5E XXH3 WORM URL GITMANIFEST XFOO FOO GITBUNDLEE"
    annex.run("git", "config", "annex.securehashesonly", "true")
    try:
        with annex.p2p() as p2p:
            for backend in secure.split():
                assert Key.make(backend, b"x").cryptographically_secure
                assert p2p.put(f"{backend}--secure".encode(), b"hello") != b"", backend
        for backend in insecure.split():
            with annex.p2p() as p2p:
                assert not Key.make(backend, b"x").cryptographically_secure
                assert p2p.put(f"{backend}--insecure".encode(), b"hello") == b"", backend
    finally:
        annex.run("git", "config", "--unset", "annex.securehashesonly")


# Keys of files


def check_keys_of_files(annex: Annex, paths: list[bytes], backend: str) -> None:
    """calckey, which answers only at the end of its input, and we give these files the same keys."""
    command = ("git", "annex", "calckey", f"--backend={backend}", "--batch", "-z")
    theirs = annex.run(*command, stdin=b"".join([path + b"\0" for path in paths])).splitlines()
    with contextlib.chdir(annex.path):
        assert theirs == [key_for_file(path, backend).raw for path in paths]


def test_git_annex_has_no_backend_that_we_forgot(annex: Annex) -> None:
    version = annex.run("git", "annex", "version").decode()
    theirs = next(line for line in version.splitlines() if line.startswith("key/value backends:")).split()[2:]
    not_computed = "SKEIN256 SKEIN256E SKEIN512 SKEIN512E BLAKE2SP224 BLAKE2SP224E"
    of_no_file = "WORM URL VURL GITBUNDLE GITMANIFEST X*"
    assert set(theirs) == {*hash_backend_names(), *not_computed.split(), *of_no_file.split()}


@pytest.fixture(scope="module")
def files(annex: Annex) -> list[bytes]:
    """Of lengths at both sides of what the trees and the blocks of a mebibyte divide."""
    os.mkdir(annex.path / "files")
    lengths = (0, 1, 63, 64, 65, 127, 128, 129, 511, 512, 513, 1023, 1025, 70_001, (1 << 20) - 1, 1 << 20, 1_048_833)
    for length in lengths:
        # Not periodic in any power of two, or blocks could be mistaken for one another.
        content = (bytes(range(251)) * (length // 251 + 1))[:length]
        (annex.path / f"files/{length}.tar.gz").write_bytes(content)
    return [b"files/%d.tar.gz" % length for length in lengths]


@pytest.mark.parametrize("backend", [*hash_backend_names(), "WORM"])
def test_keys_of_files(annex: Annex, files: list[bytes], backend: str) -> None:
    check_keys_of_files(annex, files, backend)


def test_xxh3_has_leading_zeros(annex: Annex) -> None:
    (annex.path / "zeros").write_bytes(b"91")
    assert key_for_file(annex.path / "zeros", "XXH3").name.startswith(b"00")
    check_keys_of_files(annex, [b"zeros"], "XXH3")


file_names = st.one_of(
    st.binary(min_size=1, max_size=255),
    st.lists(st.sampled_from([b".", b"a", b"Z9", b"bcd", b"e" * 5, b"$", b" ", b"\xc3\xa9", b"\xff"]), min_size=1).map(
        b"".join
    ),
).filter(lambda name: len(name) < 256 and name not in (b".", b"..") and b"/" not in name and b"\0" not in name)


every_byte = [b"a.b" + bytes([byte]) + b"c" for byte in set(range(1, 256)) - {ord("/")}]


@pytest.mark.parametrize("backend", ["SHA256E", "WORM"])
@given(names=st.dictionaries(file_names, st.integers(0, 2**33 * 10**9), min_size=60, max_size=60))
@example(names=dict.fromkeys(every_byte, 999_999_999))
@settings(oracle, max_examples=10)
def test_names_of_files(annex: Annex, backend: str, names: dict[bytes, int]) -> None:
    with tempfile.TemporaryDirectory(prefix="n", dir=annex.path) as directory:
        paths = [os.fsencode(os.path.basename(directory)) + b"/" + name for name in names]
        for path, mtime in zip(paths, names.values(), strict=True):
            file = os.fsencode(annex.path) + b"/" + path
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT))
            os.utime(file, ns=(0, mtime))
        check_keys_of_files(annex, paths, backend)
