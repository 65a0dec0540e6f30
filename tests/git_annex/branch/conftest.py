"""A repository that git made, and its branch."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pannex.git_annex.branch.blocking import BlockingBranch


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in {
        "HOME": str(tmp_path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "me",
        "GIT_AUTHOR_EMAIL": "me@localhost",
        "GIT_COMMITTER_NAME": "me",
        "GIT_COMMITTER_EMAIL": "me@localhost",
    }.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", "--bare", path], check=True)
    (path / "annex").mkdir()
    return path


@pytest.fixture
def blocking(repository: Path) -> Iterator[BlockingBranch]:
    with contextlib.closing(BlockingBranch(repository, lock_timeout=20)) as branch:
        yield branch
