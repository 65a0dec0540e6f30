"""Running `p2pannex` in this process."""

from __future__ import annotations

import sys

from click.testing import CliRunner, Result

from p2pannex.cli.program import program

P2PANNEX = [sys.executable, "-m", "p2pannex.cli.main"]


def run(*args: object, code: int = 0) -> Result:
    result = CliRunner().invoke(program, [str(arg) for arg in args])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result
