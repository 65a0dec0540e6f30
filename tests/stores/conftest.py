"""A repository that git made, and a directory store."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pannex.stores.directory import DirectoryStore
from tests.stores.annex.repository import make


@pytest.fixture(params=["bare", "with a work tree"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return make(tmp_path / "repository", *(["--bare"] if request.param == "bare" else []))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    DirectoryStore.create(path)
    return path


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, if there is one: thousands of fsyncs of a disk take minutes."""
    if os.access("/dev/shm", os.W_OK):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
            yield Path(place)
    else:
        yield tmp_path
