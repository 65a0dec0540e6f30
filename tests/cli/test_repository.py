"""`p2pannex init` and `info`."""

from __future__ import annotations

import json
from pathlib import Path

from p2pannex.cli import exit_codes
from p2pannex.stores.directory import DirectoryStore
from tests.cli.running import run, served


def test_init_and_info(tmp_path: Path) -> None:
    path = str(tmp_path / "new" / "store")
    uuid = run("init", path).stdout.strip()
    assert DirectoryStore(path).uuid == uuid
    assert uuid in run("info", path).stdout
    facts = json.loads(run("info", path, "--json").stdout)
    assert facts["uuid"] == uuid
    assert facts["kind"] == "directory store"
    assert facts["keys"] == 0
    assert facts["removal_deadlines"] == "yes"
    assert json.loads(run("info", served(path), "--json").stdout)["uuid"] == uuid
    assert "already" in run("init", path, code=exit_codes.FAILED).stderr


def test_info_of_a_gateway_directory(tmp_path: Path) -> None:
    gateway = str(tmp_path / "gateway")
    uuid = run("cluster", "init", gateway, "--name", "family").stdout.strip()
    facts = json.loads(run("info", gateway, "--json").stdout)
    assert (facts["uuid"], facts["kind"]) == (uuid, "gateway directory")


def test_init_with_a_uuid(tmp_path: Path) -> None:
    assert run("init", str(tmp_path / "s"), "--uuid", "u-1").stdout == "u-1\n"
