"""Log records are lines: what a client sends cannot look like another record."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from p2pannex.cli.log_lines import LogLine, use


def record(message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("p2pannex.x", logging.WARNING, "x.py", 1, message, args, None)


def test_a_record_is_one_line() -> None:
    text = LogLine("p2pannex").format(record("client %s left", "a\np2pannex: accepted\x1b[2K\u202e"))
    assert text == "p2pannex: client a p2pannex: accepted\ufffd[2K\ufffd left"


def test_a_traceback_is_indented() -> None:
    try:
        raise ValueError("one\ntwo\x1b[2J")
    except ValueError as error:
        failed = record("failed")
        failed.exc_info = (type(error), error, error.__traceback__)
    first, *rest = LogLine("p2pannex").format(failed).split("\n")
    assert first == "p2pannex: failed"
    assert rest[-2:] == ["    ValueError: one", "    two\ufffd[2J"]
    assert all(line.startswith("    ") for line in rest)


def test_warnings_that_no_handler_takes() -> None:
    program = (
        "import logging; from p2pannex.cli.log_lines import use; use('p2pannex-shell');"
        " logging.getLogger('p2pannex.x').warning('a\\x1b[2J\\nb')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stderr.decode() == "p2pannex-shell: a\ufffd[2J b\n"


def test_without_a_last_resort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "lastResort", None)
    use("p2pannex")
