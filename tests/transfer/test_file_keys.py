"""Keys that are made of files."""

import hashlib
import os
from pathlib import Path

import pytest

from p2pannex.keys.key import InvalidKey, Key
from p2pannex.transfer.file_keys import key_for_file
from tests.support.keys import HELLO_SHA256

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
