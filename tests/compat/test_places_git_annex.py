"""Directories that stand for a repository: worktrees, submodules, and others. git-annex-shell is the oracle."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compat.annex_environment import AnnexEnvironment
from tests.compat.test_settings_git_annex import Server

pytestmark = pytest.mark.compat


def with_a_commit(env: AnnexEnvironment, name: str, *options: str) -> Path:
    path = env.repository(name, *options)
    env.run("git", "commit", "-q", "--allow-empty", "-m", "first", cwd=path)
    return path


def worktree(env: AnnexEnvironment) -> tuple[Path, Path]:
    main = with_a_commit(env, "main")
    env.run("git", "worktree", "add", "-q", env.home / "tree", cwd=main)
    return env.home / "tree", main / ".git"


def worktree_that_git_annex_has_seen(env: AnnexEnvironment) -> tuple[Path, Path]:
    tree, git_dir = worktree(env)
    env.run("git", "annex", "info", "--fast", cwd=tree)
    return tree, git_dir


def worktree_of_a_bare_repository(env: AnnexEnvironment) -> tuple[Path, Path]:
    bare = env.home / "b.git"
    env.run("git", "clone", "-q", "--bare", with_a_commit(env, "main"), bare)
    env.run("git", "annex", "init", "-q", "b", cwd=bare)
    env.run("git", "worktree", "add", "-q", env.home / "tree", cwd=bare)
    return env.home / "tree", bare


def submodule(env: AnnexEnvironment) -> tuple[Path, Path]:
    above = with_a_commit(env, "above")
    inner = with_a_commit(env, "inner")
    env.run("git", "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner, "r", cwd=above)
    env.run("git", "annex", "init", "-q", "r", cwd=above / "r")
    return above / "r", above / ".git/modules/r"


def separate_git_directory(env: AnnexEnvironment) -> tuple[Path, Path]:
    env.repository("r", f"--separate-git-dir={env.home}/elsewhere")
    return env.home / "r", env.home / "elsewhere"


def git_directory(env: AnnexEnvironment) -> tuple[Path, Path]:
    path = env.repository("r")
    return path / ".git", path / ".git"


PLACES = [
    worktree,
    worktree_that_git_annex_has_seen,
    worktree_of_a_bare_repository,
    submodule,
    separate_git_directory,
    git_directory,
]


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("make", PLACES, ids=lambda make: make.__name__)
def test_both_store_at_the_same_place(
    annex_env: AnnexEnvironment, make: Callable[[AnnexEnvironment], tuple[Path, Path]], explicit: bool
) -> None:
    place, git_dir = make(annex_env)
    if explicit:
        annex_env.run("git", "config", "--global", "safe.bareRepository", "explicit")
    places = {}
    for shell, content in (("p2pannex-shell", b"theirs"), ("git-annex-shell", b"others")):
        server = Server(annex_env, shell)
        assert server.put(place, content) == "SUCCESS"
        [path] = [path for path in (git_dir / "annex/objects").rglob(f"SHA256-s{len(content)}*") if path.is_file()]
        places[shell] = len(path.parent.parent.name)
        other = Server(annex_env, "git-annex-shell" if shell == "p2pannex-shell" else "p2pannex-shell")
        assert other.present(place, content) == "SUCCESS"
        assert other.remove(place, content) == "SUCCESS"
    if make is not worktree_of_a_bare_repository:  # where git-annex itself uses one layout or the other
        assert len(set(places.values())) == 1, f"{places}: the directories of objects have names of the same length"


@pytest.mark.parametrize("directory", ["~/r", "/~/r", "r", "~{user}/{below}/r", "/~{user}/{below}/r", "./r/../r/"])
def test_spellings_of_a_directory(annex_env: AnnexEnvironment, directory: str) -> None:
    annex_env.repository("r")
    user = getpass.getuser()
    below = os.path.relpath(annex_env.home, os.path.expanduser(f"~{user}"))
    spelled = directory.format(user=user, below=below)
    printed = {
        annex_env.run(shell, "configlist", spelled, check=False).stdout
        for shell in ("git-annex-shell", "p2pannex-shell")
    }
    assert len(printed) == 1
    assert annex_env.uuid(annex_env.home / "r") in printed.pop()


def test_configlist_of_a_gcrypt_repository(annex_env: AnnexEnvironment) -> None:
    repository = annex_env.repository("r")
    annex_env.run("git", "config", "core.gcrypt-id", ":id:abc", cwd=repository)
    first, second = (
        annex_env.run(shell, "configlist", repository).stdout for shell in ("git-annex-shell", "p2pannex-shell")
    )
    assert first == second
