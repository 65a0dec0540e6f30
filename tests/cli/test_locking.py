"""`p2pannex lock`."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pannex.cli import exit_codes
from tests.cli.running import ABSENT, KEY, P2PANNEX, run, run_child, served, wait_until


@pytest.mark.parametrize("through", [str, served])
def test_lock_holds_while_the_command_runs(full: str, through: Callable[[str], str]) -> None:
    remove = shlex.join([*P2PANNEX, "remove", full, KEY])
    script = f"read line; echo got $line; {remove}; echo remove exits $?; exit 7"
    result = run_child("lock", through(full), KEY, "--", "sh", "-c", script, code=7, input=b"a line\n")
    assert result.stdout.splitlines() == [b"got a line", b"remove exits 1"]
    assert b"locked" in result.stderr
    run("remove", full, KEY)


def test_lock_of_what_is_not_there(store: str, tmp_path: Path) -> None:
    result = run_child("lock", store, ABSENT, "touch", str(tmp_path / "ran"), code=exit_codes.NO)
    assert b"COMMAND was not run" in result.stderr
    assert not (tmp_path / "ran").exists()


def test_lock_and_commands_that_do_not_run(full: str, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    run("lock", full, KEY, "--", "no-such-command", code=exit_codes.NOT_FOUND)
    run("lock", full, KEY, "--", str(tmp_path / "plain"), code=exit_codes.NOT_EXECUTABLE)
    run_child("lock", full, KEY, "sh", "-c", "kill -TERM $$", code=128 + signal.SIGTERM)
    told = run_child("lock", "--json", full, KEY, "true").stdout
    assert json.loads(told) == {"key": KEY, "locked": True, "command_exit_code": 0}
    run("remove", full, KEY)  # each of them unlocked


@pytest.mark.parametrize("through", [str, served])
def test_a_lock_whose_program_was_killed_still_holds(full: str, tmp_path: Path, through: Callable[[str], str]) -> None:
    began = tmp_path / "began"
    script = f"echo $$ > {began}.new; mv {began}.new {began}; exec sleep 60"
    child = subprocess.Popen([*P2PANNEX, "lock", through(full), KEY, "sh", "-c", script])
    wait_until(began.exists)
    child.kill()
    child.wait()
    assert "locked" in run("remove", full, KEY, code=exit_codes.NO).stderr
    os.kill(int(began.read_text()), signal.SIGKILL)


def test_an_interrupt_is_left_to_the_command_under_lock(full: str, tmp_path: Path) -> None:
    began = tmp_path / "began"
    script = f"trap 'exit 9' INT; touch {began}; while :; do sleep 0.05; done"
    child = subprocess.Popen(
        [*P2PANNEX, "lock", full, KEY, "sh", "-c", script], start_new_session=True, stderr=subprocess.PIPE
    )
    wait_until(began.exists)
    os.killpg(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 9
    assert errors == b""
    run("remove", full, KEY)
