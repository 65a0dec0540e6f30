"""A repository that git made, and the annex store in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from p2pannex.stores.annex.store import AnnexStore
from tests.stores.conftest import repository
from tests.support.git import git

__all__ = ["repository"]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "me")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "me@localhost")
    path = tmp_path / "repository"
    git(tmp_path, "init", "-q", "--bare", path)
    git(path, "config", "annex.uuid", "aaaaaaaa-1111-4222-8333-bbbbbbbbbbbb")
    git(path, "config", "annex.version", "10")
    return path


@pytest.fixture
async def store(path: Path) -> AsyncIterator[AnnexStore]:
    async with AnnexStore(path) as store:
        yield store
