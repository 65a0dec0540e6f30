"""`p2pannex` itself: its help, and interrupts."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from p2pannex.cli import exit_codes
from p2pannex.cli.program import COMMANDS, program
from tests.cli.running import ABSENT, P2PANNEX, run, wait_until


def test_an_interrupt_is_one_line(tmp_path: Path) -> None:
    began = tmp_path / "began"
    script = f"echo AUTH-SUCCESS u; touch {began}; exec sleep 60"
    child = subprocess.Popen(
        [*P2PANNEX, "check", "exec:" + shlex.join(["sh", "-c", script]), ABSENT], stderr=subprocess.PIPE
    )
    wait_until(began.exists)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == exit_codes.INTERRUPTED
    assert errors == b"p2pannex: interrupted\n"


@pytest.mark.parametrize("group", [(), ("token",), ("cluster",)])
def test_a_group_without_a_command_prints_its_help(group: tuple[str, ...]) -> None:
    result = CliRunner().invoke(program, list(group))
    assert result.exit_code == exit_codes.USAGE
    assert result.stderr == run(*group, "--help").stdout


def test_a_usage_error_is_a_json_line_as_well() -> None:
    result = run("check", "--json", "nowhere", code=exit_codes.USAGE)
    printed = json.loads(result.stdout)
    assert printed["exit_code"] == exit_codes.USAGE
    assert result.stderr == f"p2pannex: {printed['error']}\n"
    assert run("lock", "--no-such", "--", "x", "--json", code=exit_codes.USAGE).stdout == ""


def test_help_of_every_command() -> None:
    top = run("--help").stdout
    for name in COMMANDS:
        assert f"\n  {name} " in top
        assert "Usage: p2pannex" in run(name, "--help").stdout
    for code, meaning in exit_codes.MEANINGS.items():
        assert f"{code} " in top
        assert meaning in top
