"""The secrets of P2P networks, in files as the real git-annex writes them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from p2pannex.access import Mode, TokensUnreadable
from p2pannex.git_annex.creds import P2PAuth, current_git_dir, kept_token

HERE = "p2p-annex::unixdemo:/run/a b.sock"
TOKEN = "0e39e759c7160471"


@pytest.fixture
def creds(tmp_path: Path) -> Path:
    path = tmp_path / "annex" / "creds"
    path.mkdir(parents=True)
    return path


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def test_who_is_let_in(tmp_path: Path, creds: Path) -> None:
    """Each line as git-annex 10.20261026 was seen to take it."""
    other = "p2p-annex::unixdemo:/run/other"
    write(
        creds / "p2pauth",
        f"{TOKEN} {HERE}\nelsewhere1 {other}\nnowhere1\n\n {HERE}\na-b {HERE}\nMiXeD {HERE}\n"
        "onion1 tor-annex::x.onion:1\n",
    )
    auth = P2PAuth(tmp_path, HERE)
    grant = auth.verify(TOKEN)
    assert grant is not None
    assert grant.mode is Mode.READ_WRITE
    assert grant.expires is None
    assert auth.verify(TOKEN.upper()) == grant
    mixed = auth.verify("mixed")
    assert mixed is not None
    assert mixed != grant
    for refused in ("elsewhere1", "nowhere1", "", "a-b", "onion1", TOKEN[:-1], f"{TOKEN}1", "é"):
        assert auth.verify(refused) is None, refused
    assert P2PAuth(tmp_path, other).verify("elsewhere1") is not None
    assert not auth.empty()


def test_a_grant_tells_nothing_of_the_token(tmp_path: Path, creds: Path) -> None:
    write(creds / "p2pauth", f"{TOKEN} {HERE}\n")
    one, other = (P2PAuth(tmp_path, HERE).verify(TOKEN) for _ in range(2))
    assert one is not None
    assert TOKEN not in repr(one)
    assert one != other, "not even a hash that can be tried out"


def test_tokens_that_are_taken_away(tmp_path: Path, creds: Path) -> None:
    write(creds / "p2pauth", f"{TOKEN} {HERE}\nsecond {HERE}\n")
    auth = P2PAuth(tmp_path, HERE)
    first, second = auth.verify(TOKEN), auth.verify("second")
    assert first is not None
    assert second is not None
    write(creds / "p2pauth", f"second {HERE}\n")
    assert auth.surviving([first, second]) == {second}
    assert auth.verify(TOKEN) is None
    (creds / "p2pauth").unlink()
    assert auth.surviving([second]) == set()
    assert auth.empty()


def test_a_file_that_cannot_be_read(tmp_path: Path, creds: Path) -> None:
    (creds / "p2pauth").mkdir()
    with pytest.raises(TokensUnreadable, match="p2pauth: Is a directory"):
        P2PAuth(tmp_path, HERE).verify(TOKEN)


def test_a_file_that_others_can_read(tmp_path: Path, creds: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(creds / "p2pauth", f"{TOKEN} {HERE}\n")
    auth = P2PAuth(tmp_path, HERE)
    assert auth.verify(TOKEN)
    assert not caplog.text
    (creds / "p2pauth").chmod(0o640)
    assert auth.verify(TOKEN)
    assert auth.verify(TOKEN)
    assert caplog.text.count("chmod 600") == 1
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/home/net.sock", "esc%3A%2Fhome%2Fnet%2Esock"),
        ("a:b", "esc%3Aa%3Ab"),
        ("aA0-_.~+@!x", "esc%3AaA0%2D%5F%2E%7E%2B%40%21x"),
        ("sp ace/%41", "esc%3Asp%20ace%2F%2541"),
        ("with%2Fx*()", "esc%3Awith%252Fx%2A%28%29"),
        ("é", "esc%3Aé"),
    ],
)
def test_the_token_that_git_annex_keeps(tmp_path: Path, creds: Path, address: str, name: str) -> None:
    """Names that git-annex 10.20261026 gave the files."""
    assert kept_token(tmp_path, "esc", address) is None
    write(creds / name, TOKEN)
    assert kept_token(tmp_path, "esc", address) == TOKEN
    assert kept_token(tmp_path, "other", address) is None
    write(creds / name, "")
    assert kept_token(tmp_path, "esc", address) is None


def test_an_address_too_long_for_a_file(tmp_path: Path, creds: Path) -> None:
    assert kept_token(tmp_path, "esc", "x" * 300) is None


async def test_the_repository_in_which_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert await current_git_dir() is None
    subprocess.run(["git", "init", "-q", "repository"], check=True)
    (tmp_path / "repository" / "below").mkdir()
    monkeypatch.chdir("repository/below")
    assert await current_git_dir() == os.fsencode(tmp_path / "repository" / ".git")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await current_git_dir() is None
