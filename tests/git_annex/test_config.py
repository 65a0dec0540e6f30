"""Which repositories cannot be used, and what is said of each."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from p2pannex.stores.annex.store import AnnexStore, UnusableAnnex
from tests.stores.annex.repository import make
from tests.support.git import git


def refused(path: Path) -> str:
    with pytest.raises(UnusableAnnex) as caught:
        AnnexStore(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(path.parent), "@")


@pytest.mark.parametrize("version", ["8", "9", ""])
def test_older_versions(tmp_path: Path, version: str) -> None:
    message = refused(make(tmp_path / "r", annex_version=version))
    assert message.startswith(f"@/r is a git-annex repository of version {version or 'unknown'}; upgrade it to 10 with")
    assert "git annex upgrade" in message


def test_newer_versions(tmp_path: Path) -> None:
    assert refused(make(tmp_path / "r", annex_version="11")) == (
        "@/r is a git-annex repository of version 11; only 10 is supported"
    )


def test_tuned_repositories(tmp_path: Path) -> None:
    assert "annex.tune.objecthash1" in refused(make(tmp_path / "r", **{"annex_tune.objecthash1": "true"}))


def test_no_uuid(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "r")
    assert refused(tmp_path / "r") == "@/r has no annex.uuid; make it a git-annex repository with: git annex init"


def test_no_repository(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    assert refused(tmp_path / "r") == "@/r is not a git repository"
    assert refused(tmp_path / "nothing") == "there is no @/nothing"


def test_no_repository_inside_of_one(tmp_path: Path) -> None:
    (make(tmp_path / "r") / "directory").mkdir()
    assert refused(tmp_path / "r" / "directory") == "@/directory is not a git repository"


def test_corrupt_config(tmp_path: Path) -> None:
    with open(make(tmp_path / "r") / ".git/config", "a") as config:
        config.write("corrupt[\n")
    assert refused(tmp_path / "r").startswith("git refuses to read @/r: bad config line ")


def test_worktrees(tmp_path: Path) -> None:
    repository = make(tmp_path / "r")
    git(repository, "commit", "-q", "--allow-empty", "-m", "first")
    git(repository, "worktree", "add", "-q", tmp_path / "tree")
    assert refused(tmp_path / "tree") == (
        "@/tree is a worktree or submodule whose .git is a file; serve the repository that it belongs to"
    )
    assert "is a worktree of another" in refused(repository / ".git/worktrees/tree")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a repository to somebody else")
def test_somebody_elses_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = make(tmp_path / "r")
    monkeypatch.setenv("HOME", str(tmp_path))  # without the user's own safe.directory
    monkeypatch.delenv("SUDO_UID", raising=False)
    subprocess.run(["chown", "-R", "12345", repository], check=True)
    message = refused(repository)
    assert message.startswith("git refuses to read @/r: detected dubious ownership")
    assert "git config --global --add safe.directory" in message
