"""Options that commands share."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from p2pannex.cli import exit_codes
from p2pannex.cli.program import program
from tests.cli.running import CONTENT, KEY, run, served
from tests.support.token_server import TokenServer


@pytest.mark.parametrize("version", "01234")
def test_protocol_versions(full: str, tmp_path: Path, version: str) -> None:
    options = ["--protocol-version", version, "--timeout", "20"]
    run("get", served(full), KEY, "-o", str(tmp_path / "out"), *options)
    assert (tmp_path / "out").read_bytes() == CONTENT
    other = str(tmp_path / "other")
    run("init", other)
    run("put", served(other), str(tmp_path / "out"), "--key", KEY, *options)
    run("remove", served(full), KEY, "--while-locked-on", served(other), *options)
    facts = json.loads(run("info", served(full), "--json", *options).stdout)
    assert facts["removal_deadlines"] == ("yes" if version in "34" else "no")


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[TokenServer, TokenServer]]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    one, two = TokenServer(b"one"), TokenServer(b"two")
    yield one, two
    one.close()
    two.close()


def test_the_token_of_a_command_is_for_one_server(servers: tuple[TokenServer, TokenServer], full: str) -> None:
    one, two = servers
    for arguments in (["copy", one.url, two.url, KEY], ["remove", one.url, KEY, "--while-locked-on", two.url]):
        refused = run(*arguments, "--token", "abc", code=exit_codes.USAGE).stderr
        assert "one server" in refused
        assert one.url in refused
        assert two.url in refused
        assert "p2pannex token save URL" in refused
        assert "abc" not in refused
    assert (one.shown, two.shown) == ([], [])
    run("check", one.url, KEY, "--token", "abc", code=exit_codes.NO)
    run("copy", one.url, one.url, KEY, "--token", "abc")
    run("copy", full, one.url, KEY, "--token", "abc")
    assert set(one.shown) == {"abc"}
    one.shown.clear()
    run("copy", one.url, two.url, KEY, "--token", "abc", "--to-token", "def")
    assert (one.shown, two.shown) == (["abc"], ["def"])


def test_saved_tokens(servers: tuple[TokenServer, TokenServer], full: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = servers
    for server, token in ((one, "first"), (two, "second")):
        saved = CliRunner().invoke(program, ["token", "save", server.url], input=f"{token}\n")
        assert saved.exit_code == 0, saved.stderr
        assert server.url in saved.stdout
        assert token not in saved.stdout
    monkeypatch.setenv("P2PANNEX_TOKEN", "stale")
    run("copy", one.url, two.url, KEY)
    assert (one.shown, two.shown) == (["first"], ["second"])
    run("token", "forget", two.url)
    run("token", "forget", two.url, code=exit_codes.NO)
    run("copy", one.url, two.url, KEY, code=exit_codes.USAGE)
    assert two.shown == ["second"]


def test_nodes_of_a_gateway_get_their_own_tokens(
    servers: tuple[TokenServer, TokenServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = servers
    monkeypatch.setenv("P2PANNEX_TOKENS", f"{one.url} first\n{two.url} second")
    gateway = str(tmp_path / "gateway")
    run("cluster", "init", gateway, "--name", "g")
    run("cluster", "add", gateway, "a", one.url)
    run("cluster", "add", gateway, "b", two.url)
    CliRunner().invoke(program, ["check", gateway, KEY])
    assert (set(one.shown), set(two.shown)) == ({"first"}, {"second"})
    one.shown.clear()
    two.shown.clear()
    monkeypatch.setenv("P2PANNEX_TOKENS", f"{one.url} first")
    monkeypatch.setenv("P2PANNEX_TOKEN", "third")
    CliRunner().invoke(program, ["check", gateway, KEY])
    assert set(one.shown) == {"first"}
    assert two.shown == []


def test_the_variable_of_git_annex(
    servers: tuple[TokenServer, TokenServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for a P2P network, and for one of them, as the program's own."""
    monkeypatch.setenv("GIT_ANNEX_P2P_AUTHTOKEN", "annex")
    shown = tmp_path / "git-annex-p2p-net"
    shown.write_text(f'#!/bin/sh\nread line\necho "$line" >>{tmp_path}/shown\necho AUTH-FAILURE\n')
    shown.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    run("check", "p2p-annex::net:a", KEY, code=exit_codes.UNREACHABLE)
    assert (tmp_path / "shown").read_text().split()[-1] == "annex"
    run("copy", "p2p-annex::net:a", "p2p-annex::net:b", KEY, code=exit_codes.UNREACHABLE)
    run("check", servers[0].url, KEY, code=exit_codes.UNREACHABLE)
    assert len((tmp_path / "shown").read_text().split()) == 3
    assert servers[0].shown == []


def test_a_token_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends it back, in its first line, does not get it into the error's text."""
    program = tmp_path / "git-annex-p2p-net"
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for reply in ('"$line"', '"ERROR no, $line"', '"hello $line"'):
        program.write_text(f"#!/bin/sh\nread line\necho {reply}\n")
        program.chmod(0o755)
        failed = run("check", "p2p-annex::net:a", KEY, "--token", "hunter2", code=exit_codes.UNREACHABLE)
        assert "hunter2" not in failed.stderr
