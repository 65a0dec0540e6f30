"""The configuration of a directory store, and what is said where it cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pannex.stores.directory import DirectoryStore, NotAStore
from p2pannex.stores.directory_config import read_uuid


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not a p2pannex store; make one with: p2pannex init"),
        ("", "no usable uuid"),
        ("uuid = 3\n", "no usable uuid"),
        ('uuid = "a b"\n', "no usable uuid"),
        ("uuid = \n", "cannot use"),
        ('uuid = "u"\ncluster = "c"\n', "it is the gateway of a cluster, not a store"),
        ('uuid = "u"\ndisk_reserve = "lots"\n', "disk_reserve must be a number of bytes, at least 0"),
    ],
)
def test_open_says_what_is_wrong(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "p2pannex.toml").write_text(text)
    with pytest.raises(NotAStore, match=message) as caught:
        DirectoryStore(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ['uuid = "plain-1"\n', 'x=1\nuuid="plain-1" \n', "uuid = 'plain-1' # literal\n"])
def test_uuid_is_found_however_it_is_written(tmp_path: Path, text: str) -> None:
    (tmp_path / "p2pannex.toml").write_text(text)
    assert read_uuid(os.fsencode(tmp_path)) == DirectoryStore(tmp_path).uuid == "plain-1"
