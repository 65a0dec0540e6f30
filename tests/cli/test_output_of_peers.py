"""A server that sends escape sequences in every text, to every command: none reaches the terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from p2pannex.cli.program import program
from tests.cli.running import ABSENT, P2PANNEX
from tests.support.token_server import TokenServer, no_reply

ESCAPES = "\x1b]0;OWNED\x07\x1b[31m\x9b2J\u202e\u200b"
EVIL = ESCAPES.encode()
WORD = b"owned" + EVIL
NODE = b"31111111-1111-4111-8111-111111111111"

REPLIES = {
    "an ERROR": b"ERROR owned" + EVIL + b"\n",
    "no message": WORD + b" x\n",
    "a message with bad fields": b"DATA " + WORD + b"\n",
    "UUIDs": b"FAILURE-PLUS " + WORD + b"\n",
    "more UUIDs": b"SUCCESS-PLUS " + WORD + b"\n",
}
COMMANDS: tuple[str, ...] = (
    "info URL",
    "check URL KEY",
    "get URL KEY -o out",
    "put URL file",
    "remove URL KEY",
    "lock URL KEY -- true",
)
COMMANDS += (
    "copy store URL KEY",
    "copy URL store KEY",
    "remove store KEY --while-locked-on URL",
    "cluster add g n URL",
)


class Hostile:
    """A server whose UUID and replies can be set."""

    def __init__(self) -> None:
        self.reply = b""
        self.honest = False
        self._servers: list[TokenServer] = []

    def url(self, uuid: bytes) -> str:
        server = TokenServer(uuid, self._answer)
        self._servers.append(server)
        return server.url

    def _answer(self, line: bytes) -> bytes:
        if line.startswith(b"BYPASS"):
            return b""
        if self.honest:
            return b"TIMESTAMP 5\n" if line.startswith(b"GETTIME") else no_reply(line)
        return self.reply

    def close(self) -> None:
        for server in self._servers:
            server.close()


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    server = Hostile()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("P2PANNEX_TOKEN", "abc")
    (tmp_path / "file").write_bytes(b"x")
    CliRunner().invoke(program, ["init", "store"])
    CliRunner().invoke(program, ["put", "store", "file", "--key", "WORM-s1--here"])
    CliRunner().invoke(program, ["cluster", "init", "g", "--name", "g"])
    return tmp_path


def words(command: str, url: str) -> list[str]:
    key = "WORM-s1--here" if " store KEY" in command and "copy URL" not in command else ABSENT
    return [{"URL": url, "KEY": key}.get(word, word) for word in command.split()]


def clean(shown: str) -> None:
    found = [character for character in ESCAPES if not character.isprintable() and character in shown]
    assert not found, shown


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
@pytest.mark.parametrize("uuid", [NODE, WORD], ids=["a UUID", "no UUID"])
def test_every_command(hostile: Hostile, reply: bytes, uuid: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile.reply = reply
    url = hostile.url(uuid)
    monkeypatch.setenv("P2PANNEX_TOKENS", f"{url} abc")
    monkeypatch.setenv("P2PANNEX_DEBUG", "1")
    seen = ""
    for command in COMMANDS:
        for options in ([], ["--json"]):
            at = ["add", "g", "n"] if command.startswith("cluster") else []
            line = words(command, url)
            line[1:1] = [] if at else options
            done = CliRunner().invoke(program, line + (options if at else []))
            clean(done.stdout)
            clean(done.stderr)
            for each in done.stdout.splitlines() if options else ():
                clean(json.dumps(json.loads(each), ensure_ascii=False))
            seen += done.stdout + done.stderr
    assert "owned" in seen.lower() or not reply.startswith(b"ERROR"), "what the server sent was not shown"


def on_a_terminal(*command: str) -> str:
    """What the command shows on its terminal."""
    controller, terminal = pty.openpty()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    try:
        while data := os.read(controller, 4096):
            shown += data
    except OSError:
        pass  # the terminal is closed
    child.wait()
    os.close(controller)
    return shown.decode(errors="replace")


def test_on_a_terminal(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile.honest = True
    hostile.reply = REPLIES["an ERROR"]
    url, node = hostile.url(WORD), hostile.url(NODE)
    monkeypatch.setenv("P2PANNEX_TOKENS", f"{url} abc\n{node} abc")
    assert CliRunner().invoke(program, ["cluster", "add", "g", "n", node]).exit_code == 0
    assert CliRunner().invoke(program, ["cluster", "add", "g", "[red]m", "store"]).exit_code == 0
    hostile.honest = False
    for command in (
        ["cluster", "status", "g"],
        ["info", url],
        ["check", node, ABSENT],
        ["lock", node, ABSENT, "--", "true"],
    ):
        shown = on_a_terminal(*P2PANNEX, *command)
        assert "owned" in shown.lower(), command
        assert "[red]m" in shown or "status" not in command
        for sequence in ("\x1b]", "\x07", "\x1b[31mO", "\x9b", "\u202e", "\u200b"):
            assert sequence not in shown, (command, shown)


def test_what_ssh_shows_of_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\nprintf 'owned\\033]0;OWNED\\007\\302\\233' >&2; printf '\\033[31mhello\\n'; exit 1\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH", str(ssh))
    shown = on_a_terminal(*P2PANNEX, "check", "ssh://host/dir", ABSENT)
    assert "owned" in shown
    assert "hello" in shown
    for sequence in ("\x1b", "\x07", "\x9b"):
        assert sequence not in shown


def test_keys_with_escapes(tmp_path: Path) -> None:
    """A key is printed as it is for programs, and made safe on a terminal."""
    key = "WORM-s1--a\x1b[31m"
    done = subprocess.run([*P2PANNEX, "check", "store", key], capture_output=True, check=False)
    assert done.stdout == f"absent {key}\n".encode()
    assert "\x1b" not in on_a_terminal(*P2PANNEX, "check", "store", key)
    store = Path("store")
    CliRunner().invoke(program, ["put", "store", "file", "--key", key])
    environment = {**os.environ, "_P2PANNEX_COMPLETE": "bash_complete", "COMP_CWORD": "3"}
    environment["COMP_WORDS"] = f"p2pannex check {store} WORM"
    offered = subprocess.run(P2PANNEX, capture_output=True, env=environment, check=False).stdout
    assert b"\x1b" not in offered


def test_the_client_of_a_gateway(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    """ssh shows the standard error of p2pannex-shell, and git-annex the text of ERROR."""
    hostile.honest = True
    url = hostile.url(NODE)
    monkeypatch.setenv("P2PANNEX_TOKENS", f"{url} abc")
    assert CliRunner().invoke(program, ["cluster", "add", "g", "n", url]).exit_code == 0
    hostile.honest, hostile.reply = False, REPLIES["an ERROR"]
    requests = f"VERSION 4\nCHECKPRESENT {ABSENT}\nREMOVE {ABSENT}\nGET 0 f\x1b[2J {ABSENT}\nCHECKPRESENT a\x1b[2J\n"
    served = [sys.executable, "-m", "p2pannex.cli.shell.main", "p2pstdio", os.path.abspath("g"), "me"]
    done = subprocess.run(served, input=requests.encode(), capture_output=True, timeout=60, check=False)
    assert b"owned" in done.stdout.lower()
    for output in (done.stdout, done.stderr):
        clean(output.decode())
        assert b"\x1b" not in output
    wrong = [*served[:-2], "no\x1b]0;OWNED\x07such", "me"]
    assert b"\x1b" not in subprocess.run(wrong, capture_output=True, check=False).stderr
