"""Tokens of servers: which server gets which, and which files are used."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pannex.server_tokens import UnusableTokens, forget_token, save_token, token_for, tokens_path
from p2pannex.url_syntax import InvalidURL, parse_url, server_of


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("P2PANNEX_TOKENS", raising=False)
    return tmp_path / "p2pannex" / "tokens"


def test_a_token_is_saved_for_one_server(file: Path) -> None:
    assert save_token("tls://Server.example:7000?ca=x", "abc") == "tls://server.example:7000"
    assert save_token("unix:/run/a b", "def") == "unix:/run/a b"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert token_for("tls://server.example:7000") == "abc"
    assert token_for("unix:/run/a b") == "def"
    for other in ("tcp://server.example:7000", "tls://server.example:7001", "tls://server.example", "tls://a:7000"):
        assert token_for(other) is None
    save_token("tls://server.example:7000", "new")
    assert token_for("tls://server.example:7000") == "new"
    assert forget_token("tls://SERVER.example:7000")
    assert not forget_token("tls://server.example:7000")
    assert token_for("tls://server.example:7000") is None
    assert token_for("unix:/run/a b") == "def"


@given(st.tuples(st.sampled_from(["tcp", "tls"]), st.from_regex("[a-z0-9.-]{1,9}", fullmatch=True), st.integers(1, 9)))
def test_servers_that_differ_have_different_names(parts: tuple[str, str, int]) -> None:
    scheme, host, port = parts
    if host.startswith("-"):
        return
    assert server_of(parse_url(f"{scheme}://{host.upper()}:{port}/")) == f"{scheme}://{host}:{port}"


def test_urls_that_need_no_token() -> None:
    for url in ("ssh://host/dir", "exec:program", "directory", "host:dir"):
        assert server_of(parse_url(url)) is None
        with pytest.raises(InvalidURL, match="no token is sent there"):
            save_token(url, "abc")


def test_the_variable_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    save_token("tcp://a:1", "saved")
    save_token("tcp://b:1", "other")
    monkeypatch.setenv("P2PANNEX_TOKENS", "# mine\n\ntcp://a:1 given\n tls://[::1]:2   six \n")
    assert token_for("tcp://a:1") == "given"
    assert token_for("tcp://b:1") == "other"
    assert token_for("tls://[::1]:2") == "six"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o606])
def test_a_file_that_others_can_access(file: Path, mode: int) -> None:
    save_token("tcp://a:1", "hunter2")
    file.chmod(mode)
    with pytest.raises(UnusableTokens, match="chmod 600") as caught:
        token_for("tcp://a:1")
    assert "hunter2" not in str(caught.value)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user(file: Path) -> None:
    save_token("tcp://a:1", "abc")
    os.chown(file, 65534, 65534)
    with pytest.raises(UnusableTokens, match="another user"):
        token_for("tcp://a:1")


def test_what_is_no_file(file: Path) -> None:
    file.parent.mkdir()
    os.mkfifo(file, 0o600)
    with pytest.raises(UnusableTokens, match="not a regular file"):
        token_for("tcp://a:1")


@pytest.mark.parametrize("line", ["hunter2", "tcp://hunter2@a:1 x", "ssh://a/b hunter2", "tcp://a:1 hunter-2", "x y"])
def test_a_malformed_line_is_named_and_not_quoted(file: Path, line: str) -> None:
    save_token("tcp://a:1", "abc")
    file.write_text(f"# a comment\n{line}\n")
    with pytest.raises(UnusableTokens, match="line 2") as caught:
        token_for("tcp://a:1")
    assert "hunter" not in str(caught.value)
    assert caught.value.__cause__ is None
    save_token("tcp://a:1", "abc")
    assert line in file.read_text(), "what is not understood is kept"


def test_without_a_file() -> None:
    assert token_for("tcp://a:1") is None
    assert not forget_token("tcp://a:1")


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for base in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", base)
        assert tokens_path() == f"{tmp_path}/.config/p2pannex/tokens"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to act as another user")
def test_other_users_cannot_read_it(file: Path) -> None:
    save_token("tcp://a:1", "abc")
    read = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", str(file)]
    assert subprocess.run(read, capture_output=True, check=False).returncode != 0
