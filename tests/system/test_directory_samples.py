"""A bounded look into a directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pannex.system.directory_samples import some_names


def test_some_names(tmp_path: Path) -> None:
    for name in "abcde":
        (tmp_path / name).touch()
    directory = os.fsencode(tmp_path)
    assert sorted(some_names(directory, 100, 100)) == [b"a", b"b", b"c", b"d", b"e"]
    assert len(set(some_names(directory, 100, 3))) == 3
    assert len({name for _ in range(100) for name in some_names(directory, 2, 2)}) == 2, "only the first are listed"
    assert len({name for _ in range(200) for name in some_names(directory, 100, 1)}) == 5, "each is chosen some time"
    with pytest.raises(FileNotFoundError):
        some_names(directory + b"/absent", 1, 1)
