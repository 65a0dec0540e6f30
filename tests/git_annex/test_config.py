"""Which repositories cannot be used, and what is said of each."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from p2pannex.git_annex.config import AnnexConfig, NotAnAnnex, read_annex_config
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
    assert refused(tmp_path / "r") == (
        "@/r has no annex.uuid; git annex init gives a new repository one, git annex reinit UUID gives back one "
        "that it had"
    )


def test_no_repository(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    assert refused(tmp_path / "r") == "@/r is not a git repository"
    assert refused(tmp_path / "nothing") == "there is no @/nothing"


def test_no_repository_inside_of_one(tmp_path: Path) -> None:
    (make(tmp_path / "r") / "directory").mkdir()
    assert refused(tmp_path / "r" / "directory") == "@/directory is not a git repository"


def test_a_repository_that_git_does_not_take_for_one_is_not_that_around_it(tmp_path: Path) -> None:
    inner = make(tmp_path / "r") / "inner"
    (inner / ".git" / "objects").mkdir(parents=True)
    (inner / ".git" / "HEAD").write_text("nonsense")
    assert "not a git repository" in refused(inner)


def test_corrupt_config(tmp_path: Path) -> None:
    with open(make(tmp_path / "r") / ".git/config", "a") as config:
        config.write("corrupt[\n")
    assert refused(tmp_path / "r").startswith("git refuses to read @/r: bad config line ")


def test_worktrees(tmp_path: Path) -> None:
    repository = make(tmp_path / "r")
    git(repository, "commit", "-q", "--allow-empty", "-m", "first")
    git(repository, "worktree", "add", "-q", tmp_path / "tree")
    for place in (repository, tmp_path / "tree", repository / ".git/worktrees/tree"):
        config = read_annex_config(os.fsencode(place))
        assert config.git_dir == os.fsencode(repository / ".git")
    assert read_annex_config(os.fsencode(tmp_path / "tree")).top == os.fsencode(tmp_path / "tree")
    assert read_annex_config(os.fsencode(repository / ".git")).top == os.fsencode(repository)


def test_a_worktree_of_a_bare_repository_is_not_bare(tmp_path: Path) -> None:
    repository = make(tmp_path / "r")
    git(repository, "commit", "-q", "--allow-empty", "-m", "first")
    git(tmp_path, "clone", "-q", "--bare", repository, tmp_path / "b.git")
    git(tmp_path / "b.git", "config", "annex.uuid", "u")
    git(tmp_path / "b.git", "config", "annex.version", "10")
    git(tmp_path / "b.git", "worktree", "add", "-q", tmp_path / "tree")
    assert read_annex_config(os.fsencode(tmp_path / "b.git")).bare
    assert not read_annex_config(os.fsencode(tmp_path / "tree")).bare


def test_a_git_directory_elsewhere(tmp_path: Path) -> None:
    repository = make(tmp_path / "r")
    git(repository, "init", "-q", f"--separate-git-dir={tmp_path}/elsewhere")
    config = read_annex_config(os.fsencode(repository))
    assert (config.git_dir, config.top) == (os.fsencode(tmp_path / "elsewhere"), os.fsencode(repository))
    (repository / ".git").write_text("gitdir: /no/such/place\n")
    assert refused(repository) == "@/r is not a git repository: its .git leads to none"


def test_a_bare_repository_that_was_named_is_not_one_that_git_came_upon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = make(tmp_path / "r")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    (tmp_path / "gitconfig").write_text("[safe]\n\tbareRepository = explicit\n")
    git(tmp_path, "clone", "-q", "--bare", repository, tmp_path / "b.git")
    for name, value in (("annex.uuid", "u"), ("annex.version", "10")):
        git(tmp_path, "--git-dir=b.git", "config", name, value)
    for place in (repository, repository / ".git", tmp_path / "b.git"):
        assert read_annex_config(os.fsencode(place)).uuid


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a repository to another user")
@pytest.mark.parametrize("place", ["r", "b.git", "link"])
@pytest.mark.parametrize(
    "allowed", ["", "*", "{}/r", "{}/r/", "{}/b.git", "{}/r/.git", "{}/*", "{}/link", "~/r", "*\n\n", "{}"]
)
def test_safe_directory_is_what_git_makes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, allowed: str
) -> None:
    make(tmp_path / "r")
    git(tmp_path, "clone", "-q", "--bare", tmp_path / "r", tmp_path / "b.git")
    for name, value in (("annex.uuid", "u"), ("annex.version", "10")):
        git(tmp_path / "b.git", "config", name, value)
    (tmp_path / "link").symlink_to("r")
    for path in (tmp_path / "r", tmp_path / "b.git"):
        subprocess.run(["chown", "-R", "12345", path], check=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    lines = [f"\tdirectory = {line.format(tmp_path)}\n" for line in allowed.split("\n")[: None if allowed else 0]]
    (tmp_path / "gitconfig").write_text("[safe]\n" + "".join(lines))
    git_allows = not subprocess.run(["git", "-C", tmp_path / place, "rev-parse"], capture_output=True).returncode
    if git_allows:
        assert read_annex_config(os.fsencode(tmp_path / place)).uuid
    else:
        with pytest.raises(NotAnAnnex, match="dubious ownership"):
            read_annex_config(os.fsencode(tmp_path / place))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a repository to another user")
def test_a_repository_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = make(tmp_path / "r")
    monkeypatch.setenv("HOME", str(tmp_path))  # without the user's own safe.directory
    monkeypatch.delenv("SUDO_UID", raising=False)
    subprocess.run(["chown", "-R", "12345", repository], check=True)
    message = refused(repository)
    assert message.startswith("git refuses to read @/r: detected dubious ownership")
    assert "git config --global --add safe.directory" in message


@pytest.mark.parametrize(("value", "private"), [("true", {"u"}), ("false", set()), (None, set())])
def test_a_private_repository(value: str | None, private: set[str]) -> None:
    """Nothing about it is recorded in the git-annex branch."""
    values = {"annex.uuid": "u"} | ({} if value is None else {"annex.private": value})
    assert AnnexConfig(b"/nowhere", values).private_uuids == private
