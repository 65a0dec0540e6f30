"""`p2pannex conformance` and `bench`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from p2pannex.cli import exit_codes
from p2pannex.testing.benchmarks.cluster import run_cluster
from tests.cli.running import run


def test_conformance_of_our_own_shell(store: str) -> None:
    command = ["--", sys.executable, "-m", "p2pannex.cli.shell.main", "p2pstdio", store, "me"]
    out = run("conformance", "--version", "4", *command).stdout
    assert re.search(r"^[1-9][0-9]* passed, 0 failed, [0-9]+ skipped$", out, re.MULTILINE)
    told = [json.loads(each) for each in run("conformance", "--json", "--version", "0", *command).stdout.splitlines()]
    assert {each["status"] for each in told} <= {"passed", "skipped"}


def test_conformance_of_a_program_that_is_no_server() -> None:
    result = run("conformance", "--version", "4", "--", "sh", "-c", "echo no such store >&2", code=exit_codes.NO)
    assert result.stdout == ""
    assert result.stderr == (
        "p2pannex: the server did not send AUTH-SUCCESS; it wrote to standard error: no such store\n"
    )
    run("conformance", "--", "true", code=exit_codes.NO)


@pytest.mark.compat
def test_bench_prints_every_figure_of_both(tmp_path: Path) -> None:
    out = run("bench", "--rounds", "1", "--size", "1", "--dir", str(tmp_path), "--json").stdout
    figures = {each["name"]: each for each in map(json.loads, out.splitlines())}
    assert {"CHECKPRESENT", "PUT large", "GET 10 kB", "REMOVE", "peak memory"} <= set(figures)
    assert all(each["p2pannex"] > 0 and each["git_annex"] > 0 for each in figures.values())


def test_bench_of_slow_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pannex.testing.benchmarks.throttled.RATE", 500e6)
    monkeypatch.setattr("p2pannex.testing.benchmarks.throttled.SECONDS", 0.2)
    figures = [json.loads(each) for each in run("bench", "throttled", "--rounds", "1", "--json").stdout.splitlines()]
    assert len(figures) == 2
    assert all(each["cluster"] > 0 and each["at_best"] > 0 for each in figures)


@pytest.mark.compat
def test_bench_of_a_cluster(tmp_path: Path) -> None:
    result = run_cluster(rounds=1, large=1 << 20, requests=2, directory=str(tmp_path))
    assert {"PUT large", "REMOVE, same gateway", "PUT 10 kB, annex.jobs"} <= {row.name for row in result.rows}
    assert all(row.p2pannex > 0 and row.git_annex > 0 for row in result.rows)
