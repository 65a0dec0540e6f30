"""Options that commands share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import CONTENT, KEY, run, served


@pytest.mark.parametrize("version", "01234")
def test_protocol_versions(full: str, tmp_path: Path, version: str) -> None:
    options = ["--protocol-version", version, "--timeout", "20"]
    run("get", served(full), KEY, "-o", str(tmp_path / "out"), *options)
    assert (tmp_path / "out").read_bytes() == CONTENT
    other = str(tmp_path / "other")
    run("init", other)
    run("put", served(other), str(tmp_path / "out"), "--key", KEY, *options)
    run("remove", served(full), KEY, "--while-locked-on", served(other), *options)
    facts = json.loads(run("info", served(full), "--json", *options).stdout)
    assert facts["removal_deadlines"] == ("yes" if version in "34" else "no")
