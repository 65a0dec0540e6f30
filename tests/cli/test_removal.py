"""`p2pannex remove`."""

from __future__ import annotations

import json
from pathlib import Path

from p2pannex.cli import exit_codes
from tests.cli.running import KEY, run, served


def test_remove_refuses_to_rely_on_the_same_repository(full: str, tmp_path: Path) -> None:
    for holder in (full, served(full)):
        run("remove", full, KEY, "--while-locked-on", holder, code=exit_codes.NO)
    other = str(tmp_path / "other")
    run("init", other)
    refused = run("remove", full, KEY, "--while-locked-on", other, "--json", code=exit_codes.NO)
    assert "nothing was removed" in json.loads(refused.stdout)["error"]
    run("check", full, KEY)
