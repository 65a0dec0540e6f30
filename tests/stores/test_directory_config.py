"""The configuration of a directory store, and what is said where it cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pannex.errors import RemoteError
from p2pannex.stores.directory import DirectoryStore, NotAStore
from p2pannex.stores.directory_config import CONFIG_MAX, is_gateway, read_config, read_uuid


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not a p2pannex store; is its disk mounted"),
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


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("#" * (CONFIG_MAX + 1), "more than 1048576 bytes"),
        ("a = '\xff'".encode("latin-1").decode("utf-8", "surrogateescape"), "utf-8"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_an_error_of_one_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "p2pannex.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=problem):
        read_config(bytes(tmp_path))
    assert not is_gateway(bytes(tmp_path))
    with pytest.raises(RemoteError, match=problem):
        DirectoryStore(tmp_path)
