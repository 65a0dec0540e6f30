"""A store, and a file to put into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pannex.stores.directory import DirectoryStore
from tests.cli.running import CONTENT, run


@pytest.fixture
def store(tmp_path: Path) -> str:
    path = tmp_path / "store"
    DirectoryStore.create(path)
    return str(path)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "file.txt"
    path.write_bytes(CONTENT)
    return str(path)


@pytest.fixture
def full(store: str, file: str) -> str:
    """A store that has KEY."""
    run("put", store, file)
    return store
