"""A directory store."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pannex.stores.directory import DirectoryStore


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    DirectoryStore.create(path)
    return path
