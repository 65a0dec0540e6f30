"""Every error is one line that says what to do, with an exit code of its kind."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from p2pannex.cli import exit_codes
from p2pannex.cli.errors import describe, line, one_of
from p2pannex.cli.program import program
from tests.cli.running import ABSENT, run, run_child

ERRORS = [
    # arguments (STORE and FILE are put in), exit code, a part of the line
    ("check nowhere KEY", exit_codes.FAILED, "p2pannex init"),
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
    ("copy STORE nowhere KEY", exit_codes.FAILED, "p2pannex init"),
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
    ("token list nowhere", exit_codes.FAILED, "p2pannex init"),
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
    assert line("a\n b\x1b[1m\tc") == "a b�[1m c"
