"""Every error is one line that says what to do, with an exit code of its kind."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
import trio
from click.testing import CliRunner

from p2pannex.cli import exit_codes
from p2pannex.cli.errors import describe, one_of
from p2pannex.cli.program import program
from p2pannex.errors import AccessDenied, ConnectionLost
from p2pannex.p2p.dial import open_socket_peer
from p2pannex.p2p.handshake import AuthenticationFailed, WrongRepository
from p2pannex.service import NotLocked
from p2pannex.terminal import safe_line, shortened
from p2pannex.transfer.errors import NotStoredError, WrongContent, WrongContentNotStored
from p2pannex.transports.sockets import TcpAddress
from p2pannex.transports.tls import client_tls
from tests.cli.running import ABSENT, KEY, P2PANNEX, run, run_child

ERRORS = [
    # arguments (STORE and FILE are put in), exit code, a part of the line
    ("check nowhere KEY", exit_codes.FAILED, "is its disk mounted"),
    ("check ftp://host/x KEY", exit_codes.USAGE, "ssh://"),
    ("check '' KEY", exit_codes.USAGE, "URL"),
    ("check STORE nokey", exit_codes.USAGE, "not a key"),
    ("check STORE", exit_codes.USAGE, "check --help"),
    ("check exec:no-such-command KEY", exit_codes.UNREACHABLE, "command not found"),
    ("check exec:false KEY", exit_codes.UNREACHABLE, "false"),
    ("check 'exec:echo hello' KEY", exit_codes.UNREACHABLE, "violated the protocol"),
    ("check 'exec:sleep 60' KEY --timeout 0.1", exit_codes.UNREACHABLE, "exec:sleep 60: "),
    ("check unix:/no/such/socket KEY", exit_codes.UNREACHABLE, "/no/such/socket"),
    ("check tcp://127.0.0.1:1 KEY", exit_codes.UNREACHABLE, "127.0.0.1:1"),
    ("check tls://127.0.0.1:1?ca=no/ca KEY", exit_codes.LOCAL_FILE, "no/ca: there is no such file"),
    ("check STORE KEY --timeout 0", exit_codes.USAGE, "timeout"),
    ("check STORE KEY --protocol-version 9", exit_codes.USAGE, "protocol-version"),
    ("check STORE KEY --bogus", exit_codes.USAGE, "--bogus"),
    ("get STORE KEY", exit_codes.USAGE, "-o"),
    ("get STORE KEY -o out", exit_codes.NO, "does not have"),
    ("get STORE KEY -o no/such/dir/out", exit_codes.LOCAL_FILE, "no/such/dir/out"),
    ("get STORE KEY -o .", exit_codes.LOCAL_FILE, "directory"),
    ("put STORE nothing", exit_codes.LOCAL_FILE, "nothing: there is no such file"),
    ("put STORE /dev/null --key WORM-s0-m1--x", exit_codes.LOCAL_FILE, "not a regular file"),
    ("put STORE FILE --backend SHA7", exit_codes.USAGE, "SHA256E"),
    ("put STORE FILE --backend URL", exit_codes.USAGE, "SHA256E"),
    ("copy STORE nowhere KEY", exit_codes.FAILED, "is its disk mounted"),
    ("lock STORE KEY", exit_codes.USAGE, "COMMAND"),
    ("lock STORE KEY --", exit_codes.USAGE, "COMMAND"),
    ("serve STORE", exit_codes.USAGE, "--listen"),
    ("serve STORE --listen ssh://host/dir", exit_codes.USAGE, "unix:PATH"),
    ("serve STORE --listen unix:sock --read-only --append-only", exit_codes.USAGE, "--read-only"),
    ("proxy STORE --listen unix:sock", exit_codes.USAGE, "--tokens"),
    ("proxy STORE --tokens STORE", exit_codes.USAGE, "--listen"),
    ("proxy nowhere:", exit_codes.USAGE, "nowhere"),
    ("token create STORE --expires yesterday", exit_codes.USAGE, "90d"),
    ("token create STORE --expires 1999-01-31", exit_codes.USAGE, "past"),
    ("token list nowhere", exit_codes.FAILED, "is its disk mounted"),
    ("conformance", exit_codes.USAGE, "COMMAND"),
    ("conformance --transcript no-such -- true", exit_codes.USAGE, "transcript"),
    ("completion tcsh", exit_codes.USAGE, "bash"),
    ("quickstart no-such-file", exit_codes.USAGE, "no-such-file"),
    ("bogus", exit_codes.USAGE, "bogus"),
    ("--bogus", exit_codes.USAGE, "--bogus"),
]


@pytest.mark.parametrize(("words", "code", "part"), ERRORS, ids=[words for words, _, _ in ERRORS])
def test_errors(
    words: str, code: int, part: str, store: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"STORE": store, "FILE": file, "KEY": ABSENT}
    assert part in run(*[names.get(word, word) for word in shlex.split(words)], code=code).stderr


def test_an_unreachable_server_that_talks_is_quoted_in_one_line() -> None:
    url = "exec:" + shlex.join(["sh", "-c", "echo one >&2; echo two >&2; exit 3"])
    result = run_child("check", url, ABSENT, code=exit_codes.UNREACHABLE)
    assert re.fullmatch(rb"p2pannex: [^\n]*one[^\n]*two[^\n]*\n", result.stderr)


def test_words_of_a_server_cannot_command_the_terminal() -> None:
    reply = "AUTH-SUCCESS u\\nVERSION 4\\nERROR \\033[31mred\\007\\n"
    result = run("check", "exec:" + shlex.join(["sh", "-c", f"printf '{reply}'; cat >/dev/null"]), ABSENT, code=3)
    assert "red" in result.stderr
    assert "\x1b" not in result.stderr


def test_bugs_say_so_and_show_where_when_asked(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("trio.run", broken)
    assert "ZeroDivisionError: oops" in run("check", store, ABSENT, code=exit_codes.INTERNAL).stderr
    monkeypatch.setenv("P2PANNEX_DEBUG", "1")
    assert "Traceback" in CliRunner().invoke(program, ["check", store, ABSENT]).stderr


def test_errors_in_groups() -> None:
    inner = ExceptionGroup("g", [ValueError("a"), OSError(28, "No space", "f")])
    assert isinstance(one_of(inner), ValueError)
    interrupted = BaseExceptionGroup("g", [inner, KeyboardInterrupt()])
    assert describe(one_of(interrupted))[0] == exit_codes.INTERRUPTED
    assert safe_line("a\n b\x1b[1m\tc") == "a b�[1m c"


def test_every_exit_code_is_in_the_table() -> None:
    codes = {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
    assert codes == exit_codes.MEANINGS.keys()


@pytest.mark.parametrize(
    ("error", "code", "again"),
    [
        (ConnectionLost("cut"), exit_codes.UNREACHABLE, True),
        (ConnectionLost("no such host", permanent=True), exit_codes.UNREACHABLE, False),
        (WrongRepository("another"), exit_codes.UNREACHABLE, False),
        (AuthenticationFailed("token"), exit_codes.UNREACHABLE, False),
        (AccessDenied("read-only"), exit_codes.NO, False),
        (NotLocked("absent"), exit_codes.NO, False),
        (NotStoredError("refused"), exit_codes.FAILED, False),
        (WrongContentNotStored("wrong"), exit_codes.WRONG_CONTENT, False),
        (WrongContent("wrong"), exit_codes.WRONG_CONTENT, False),
        (PermissionError(13, "x", "f"), exit_codes.LOCAL_FILE, False),
    ],
)
def test_kinds_of_errors(error: Exception, code: int, again: bool) -> None:
    """Only for transfers, and for what may pass by itself, is the user advised to try again."""
    with click.Context(program) as context:
        context.invoked_subcommand = "put"
        found, text = describe(error)
        assert found == code
        assert ("try again (transfers resume)" in text) is again
        context.invoked_subcommand = "info"
        assert "try again" not in describe(error)[1]


def test_a_missing_token_is_reported_with_the_url() -> None:
    error = AuthenticationFailed("this server requires a token, and none was given")
    error.add_note("tcp://host:1")
    assert describe(error)[1].endswith("p2pannex token save tcp://host:1")
    shortened_url = AuthenticationFailed("this server requires a token, and none was given")
    shortened_url.add_note(shortened(f"tls://host:1?ca=/{'long/' * 30}ca.pem", 80))
    assert describe(shortened_url)[1].endswith("p2pannex token save URL"), "a part of a URL would be no help"


@pytest.mark.parametrize(
    ("variable", "url", "command"),
    [
        ("GIT_ANNEX_SHELL_READONLY", "STORE", "put URL FILE"),
        ("GIT_ANNEX_SHELL_READONLY", "STORE", "remove URL KEY"),
        ("GIT_ANNEX_SHELL_APPENDONLY", "STORE", "remove URL KEY"),
    ],
)
def test_what_the_access_mode_refuses_is_an_answer(
    full: str, file: str, monkeypatch: pytest.MonkeyPatch, variable: str, url: str, command: str
) -> None:
    monkeypatch.setenv(variable, "1")
    shell = shlex.join([sys.executable, "-m", "p2pannex.cli.shell.main", "p2pstdio", full, "client"])
    names = {"URL": f"exec:{shell}", "FILE": file, "KEY": KEY}
    result = run_child(*[names.get(word, word) for word in command.split()], code=exit_codes.NO)
    assert b"denied" in result.stderr


def test_a_host_that_does_not_exist_and_a_wrong_certificate_are_permanent(tmp_path: Path) -> None:
    async def permanent(address: TcpAddress) -> bool:
        with pytest.raises(ConnectionLost) as caught:
            await open_socket_peer(address, tls=client_tls(), timeout=60)
        return caught.value.permanent

    assert trio.run(permanent, TcpAddress("x" * 70, 1))
    assert not trio.run(permanent, TcpAddress("127.0.0.1", 1))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_output_that_the_terminal_cannot_encode_ends_no_program(store: str, tmp_path: Path, encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    strange = os.path.join(os.fsencode(tmp_path), b"\xff-\xe2\x82\xac")
    commands: list[list[str | bytes]] = [["init", strange], ["info", strange], ["put", strange, strange + b"/none"]]
    for command in commands:
        code = exit_codes.LOCAL_FILE if command[0] == "put" else 0
        for words in (command, [*command, "--json"]):
            result = subprocess.run([*P2PANNEX, *words], capture_output=True, timeout=60, env=environment)
            assert result.returncode in (code, exit_codes.FAILED, exit_codes.LOCAL_FILE), result.stderr
            assert b"UnicodeEncodeError" not in result.stderr
            assert b"bug:" not in result.stderr


# Advice that does no harm -------------------------------------------------------------------------------------------

PACKAGE = Path(describe.__code__.co_filename).parent.parent

COMMANDS = re.compile(
    r"(p2pannex (?:init|cluster|remove|token)\b|git annex (?!configuration|config\b|repositor)[a-z]+|git config \S+"
    r"|(?<=.)--force\b|\bdelete it\b|\bremove it\b|\bmount it\b|\bunset \S+)"
)
"""What a message may advise to do that changes a repository."""

HARMLESS = {
    # where, what: why no content is lost, and no second repository made, by it
    ("access.py", "delete it"): "tokens of clients are made anew; no content depends on them",
    ("cli/errors.py", "--force"): "says what it would do to the file, and names another way first",
    ("cli/quickstart/stores_tour.py", "remove it"): "tells what a server did",
    ("cli/shell/autoinit.py", "git annex init"): "tells what failed",
    ("cli/shell/legacy.py", "--force"): "the syntax of dropkey",
    ("cli/shell/main.py", "--force"): "the syntax of dropkey",
    ("cluster/preferred/parser.py", "git annex unused"): "only lists",
    ("stores/annex/store.py", "remove it"): "with a command that checks other copies",
    ("cli/quickstart/command.py", "p2pannex init"): "names a new store",
    ("cli/quickstart/command.py", "p2pannex cluster"): "prints help",
    ("cli/serving.py", "p2pannex token"): "a token more",
    ("cli/serving.py", "git annex p"): "a token more",
    ("cli/token.py", "p2pannex token"): "lists tokens",
    ("cli/cluster/commands.py", "p2pannex cluster"): "the command that the user has given, complete",
    ("gateways/repository/special.py", "git annex verifyremote"): "under the condition that it is what is expected",
    ("git_annex/config.py", "git annex init"): "for a new repository only; the other case is named",
    ("git_annex/config.py", "git annex reinit"): "gives back the UUID that the repository had",
    ("git_annex/config.py", "git annex upgrade"): "git-annex does it by itself, too",
    ("cli/errors.py", "p2pannex token"): "saves a token for this user; changes no repository",
    ("cli/options.py", "p2pannex token"): "saves a token for this user; changes no repository",
    ("git_annex/config.py", "git config --global"): "git's own advice; changes no repository",
    ("keys/verify.py", "git annex migrate"): "keeps the content, under a new key",
    ("stores/annex/store.py", "git annex drop"): "checks other copies",
    ("stores/external/store.py", "git annex migrate"): "keeps the content, under a new key",
    ("stores/files/vouching.py", "git annex lock"): "refuses where it would discard a change",
    ("system/file_locks.py", "git config annex.pidlock"): "under the condition that no program uses the repository",
}


def advice() -> set[tuple[str, str]]:
    """What the package's messages advise to do: f-strings and strings, but no docstrings, help texts or tables."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        where = str(path.relative_to(PACKAGE))
        if where.startswith("testing/") or where == "git_annex/settings.py":
            continue
        tree = ast.parse(path.read_text())
        texts = [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        quiet = {
            id(node.value.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        } | {
            id(part.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.keyword) and node.arg == "help"
            for part in ast.walk(node)
            if isinstance(part, ast.Constant)
        }
        for text in texts:
            if id(text) not in quiet:
                found |= {(where, match) for match in COMMANDS.findall(text)}
    return found


def test_advice_was_looked_at_and_does_no_harm() -> None:
    """Advice that is not in the list has to be thought about: may it lose content, or make a second repository?"""
    assert sorted(advice() - HARMLESS.keys()) == []
    assert sorted(HARMLESS.keys() - advice()) == [], "it is not advised any more"


@pytest.mark.parametrize(
    "words", ["check DISK KEY", "put DISK FILE", "info DISK", "token list DISK", "cluster status DISK"]
)
def test_in_an_empty_mount_point_no_store_is_advised(
    tmp_path: Path, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk").mkdir()
    (tmp_path / "file").write_bytes(b"content")
    known = {"DISK": "disk", "FILE": "file", "KEY": str(KEY)}
    result = run(*(known.get(word, word) for word in words.split()), code=exit_codes.FAILED)
    assert " init" not in result.stderr
    assert not os.listdir(tmp_path / "disk")
