"""`p2pannex cluster status`."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest
import trio

from p2pannex.cli import exit_codes
from p2pannex.gateways.directory.cluster import GatewayDirectory
from p2pannex.urls import open_url
from tests.cli.cluster.running import P2PANNEX, run


def test_status(gateway: Path, tmp_path: Path) -> None:
    for name in "ab":
        run("cluster", "add", gateway, name, tmp_path / name)
    (tmp_path / "file").write_bytes(b"content")
    run("put", gateway, tmp_path / "file")
    table = run("cluster", "status", gateway).stdout
    assert "0 of 8" in table
    assert "no process serves it now" in table
    rows = [json.loads(line) for line in run("cluster", "status", gateway, "--json").stdout.splitlines()]
    assert [(row["name"], row["keys"], row["transfers"], row["clock_offset"]) for row in rows] == [
        ("a", 1, 0, 0),
        ("b", 1, 0, 0),
    ]
    (tmp_path / "b").rename(tmp_path / "away")
    rows = [json.loads(line) for line in run("cluster", "status", gateway, "--json", code=1).stdout.splitlines()]
    assert "not a p2pannex store" in rows[1]["problem"]


def test_a_suspended_node(gateway: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("cluster", "add", gateway, "attic", tmp_path / "a")
    monkeypatch.setattr("p2pannex.cluster.health.FIRST_BACK_OFF", 60.0)

    async def fail() -> None:
        async with GatewayDirectory(str(gateway), open_url) as opened:
            opened.nodes[0].failed("it hung")

    trio.run(fail)
    monkeypatch.setenv("COLUMNS", "160")
    assert "suspended, next probe in" in run("cluster", "status", gateway).stdout
    [row] = map(json.loads, run("cluster", "status", gateway, "--json").stdout.splitlines())
    assert 10 < row["suspended"] <= 60


def test_status_that_is_watched(gateway: Path, tmp_path: Path) -> None:
    run("cluster", "add", gateway, "attic", tmp_path / "a")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    command = [*P2PANNEX, "cluster", "status", str(gateway), "--watch"]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment, start_new_session=True) as child:
        os.close(theirs)
        shown = b""
        while shown.count(b"attic") < 2:
            shown += os.read(ours, 4096)
        child.send_signal(signal.SIGINT)
        try:
            while rest := os.read(ours, 4096):
                shown += rest
        except OSError:
            pass  # it has closed its end
        assert child.wait(60) == exit_codes.INTERRUPTED
    os.close(ours)
    assert b"Traceback" not in shown


def test_a_disk_that_is_not_mounted(gateway: Path, tmp_path: Path) -> None:
    """A store in its empty mount point would be a second one, on another disk."""
    for name in "ab":
        run("cluster", "add", gateway, name, tmp_path / name)
    (tmp_path / "b").rename(tmp_path / "away")
    (tmp_path / "b").mkdir()
    result = run("cluster", "status", gateway, code=exit_codes.NO)
    assert f"p2pannex: node b: {tmp_path}/b is not a p2pannex store; is its disk mounted?\n" == result.stderr
    assert "init" not in result.stdout + result.stderr
