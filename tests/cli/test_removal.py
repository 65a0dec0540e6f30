"""`p2pannex remove`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from p2pannex.cli import exit_codes
from p2pannex.keys.key import Key
from p2pannex.stores.directory import DirectoryStore
from tests.cli.running import CONTENT, KEY, run, served


def test_remove_refuses_to_rely_on_the_same_repository(full: str, tmp_path: Path) -> None:
    for holder in (full, served(full)):
        run("remove", full, KEY, "--while-locked-on", holder, code=exit_codes.NO)
    other = str(tmp_path / "other")
    run("init", other)
    refused = run("remove", full, KEY, "--while-locked-on", other, "--json", code=exit_codes.NO)
    assert "nothing was removed" in json.loads(refused.stdout)["error"]
    run("check", full, KEY)


@pytest.mark.parametrize("through", ["directory", "server"])
def test_verify_reads_the_other_copy_first(full: str, file: str, tmp_path: Path, through: str) -> None:
    other = str(tmp_path / "other")
    run("init", other)
    run("put", other, file)
    copy = object_of(other)
    copy.chmod(0o644)
    copy.write_bytes(b"ROT!" + CONTENT[4:])
    copy.chmod(0o444)
    holder = other if through == "directory" else served(other)
    refused = run("remove", full, KEY, "--while-locked-on", holder, "--verify", "--json", code=exit_codes.NO)
    assert "damaged; nothing was removed" in json.loads(refused.stdout)["error"]
    run("check", full, KEY)
    run("check", other, KEY, code=exit_codes.NO)
    run("put", other, file)
    run("remove", full, KEY, "--while-locked-on", holder, "--verify")
    run("check", full, KEY, code=exit_codes.NO)
    run("check", other, KEY)


def test_verify_is_of_the_other_copy(full: str) -> None:
    assert "--while-locked-on" in run("remove", full, KEY, "--verify", code=exit_codes.USAGE).stderr


def test_help_says_what_the_lock_proves() -> None:
    words = " ".join(run("remove", "--help").stdout.split())
    assert "not that its disk has not damaged it: see --verify" in words


def object_of(directory: str) -> Path:
    return Path(os.fsdecode(DirectoryStore(directory).layout.find(Key.parse(KEY))))
