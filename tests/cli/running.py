"""Running `p2pannex`, in this process or as a child."""

from __future__ import annotations

import hashlib
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable

from click.testing import CliRunner, Result

from p2pannex.cli import exit_codes
from p2pannex.cli.program import program
from p2pannex.stores.directory import DirectoryStore

CONTENT = b"some content\n" * 30_000
KEY = f"SHA256E-s{len(CONTENT)}--{hashlib.sha256(CONTENT).hexdigest()}.txt"
ABSENT = "SHA256E-s1--" + "0" * 64
P2PANNEX = [sys.executable, "-m", "p2pannex.cli.main"]


def run(*args: str, code: int = 0) -> Result:
    """Run a command line in this process; what it wrote to standard error is one line, or none where it succeeds."""
    result = CliRunner().invoke(program, list(args))
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    assert "Traceback" not in result.stderr
    if code in (exit_codes.DONE, exit_codes.NO):
        assert all(each.startswith("p2pannex: ") for each in result.stderr.splitlines())
    else:
        assert re.fullmatch(r"p2pannex: [^\n]+\n", result.stderr), result.stderr
    return result


def run_child(*args: str, code: int = 0, **settings: object) -> subprocess.CompletedProcess[bytes]:
    result = subprocess.run([*P2PANNEX, *args], capture_output=True, timeout=60, **settings)  # type: ignore[call-overload]
    assert result.returncode == code, (result.stdout, result.stderr)
    return result  # type: ignore[no-any-return]


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def served(store: str) -> str:
    """The same store, through a child process."""
    uuid = DirectoryStore(store).uuid
    return "exec:" + shlex.join(
        [sys.executable, "-m", "p2pannex.cli.shell.main", "p2pstdio", store, "me", "--uuid", uuid]
    )
