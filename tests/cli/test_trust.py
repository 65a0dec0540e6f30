"""`p2pannex trust`, and where else the list is written and shown."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from p2pannex.cli import exit_codes
from tests.cli.running import run


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))


def test_trust(tmp_path: Path) -> None:
    gateway = str(tmp_path / "gateway")
    run("cluster", "init", gateway, "--name", "family")
    assert run("trust").stdout == f"{gateway}\n"
    assert json.loads(run("info", gateway, "--json").stdout)["trusted"] == "yes"
    run("trust", "--remove", gateway)
    assert run("trust").stdout == ""
    assert json.loads(run("info", gateway, "--json").stdout)["trusted"] == "no"
    assert "is not trusted" in run("trust", "--remove", gateway, code=exit_codes.NO).stderr
    run("trust", gateway)
    assert json.loads(run("trust", "--json").stdout)["path"] == gateway


def test_a_cluster_although_the_list_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "configuration").touch()
    run("cluster", "init", str(tmp_path / "gateway"), "--name", "family")
    assert f"p2pannex trust {tmp_path}/gateway" in caplog.text


def test_a_configuration_in_a_cloned_repository(tmp_path: Path) -> None:
    """Its author may have written it: a program that it names is not run for who only names the clone."""
    clone, mark = tmp_path / "clone", tmp_path / "mark"
    subprocess.run(["git", "init", "-q", clone], check=True)
    (clone / "p2pannex.toml").write_text(gateway_running(f"touch {mark}"))
    assert "git" in run("info", str(clone), code=exit_codes.FAILED).stderr
    refusal = run("cluster", "status", str(clone), code=exit_codes.FAILED).stderr
    assert "it is the work tree of a git repository; see: p2pannex trust --help" in refusal
    assert not mark.exists()
    run("trust", str(clone))
    assert json.loads(run("info", str(clone), "--json").stdout)["kind"] == "gateway directory"
    run("cluster", "status", str(clone), code=exit_codes.NO)
    assert mark.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_the_gateway_of_another_user(tmp_path: Path) -> None:
    directory, mark = tmp_path / "evil", tmp_path / "mark"
    directory.mkdir()
    (directory / "p2pannex.toml").write_text(gateway_running(f"touch {mark}"))
    os.chown(directory / "p2pannex.toml", 65534, 65534)
    assert "belongs to user 65534" in run("info", str(directory), code=exit_codes.FAILED).stderr
    assert not mark.exists()


def gateway_running(command: str) -> str:
    """The configuration of a gateway that runs a program."""
    return (
        'uuid = "11111111-1111-4111-8111-111111111111"\ngateway = "21111111-1111-4111-8111-111111111111"\n'
        'cluster = "x"\n[nodes.a]\nuuid = "31111111-1111-4111-8111-111111111111"\n'
        f"""url = "exec:sh -c '{command}'"\n"""
    )
