"""git's commands: which directory git opens, and what it may change there."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.cli.shell.shell import CLIENT, Shell, commit


def test_the_directory_that_git_opens_is_the_allowed_one(shell: Shell, home: Path) -> None:
    """The client's spelling leads there, or it is refused; only the owner's spelling is opened."""
    for name in ("allowed", "secret"):
        subprocess.run(["git", "init", "-q", str(home / name)], check=True)
        commit(home / name, f"refs/heads/{name}-branch", "first")
    (home / "secret/sub").mkdir()
    (home / "allowed/link").symlink_to("../secret/sub")
    (home / "alias").symlink_to("allowed")
    for spelling in ("@/allowed/link/..", "allowed/link/..", "~/x/../allowed/link/..", "@/allowed/link/../."):
        for service in ("git-upload-pack", "git-receive-pack", "git-upload-archive"):
            said = shell.refuses("-c", f"{service} '{spelling}'", GIT_ANNEX_SHELL_DIRECTORY="@/allowed")
            assert said == "only allowed to access @/allowed, not @/secret"
    for spelling in ("@/allowed", "alias", "~/elsewhere/../allowed"):
        line = f"git-upload-pack '{spelling}'"
        assert "allowed-branch" in shell.run("-c", line, stdin="0000", GIT_ANNEX_SHELL_DIRECTORY="@/allowed").stdout


@pytest.mark.parametrize("words", [["-c", "git-upload-pack '@/store'"], ["p2pstdio", "@/empty", CLIENT]])
def test_a_directory_does_not_stand_for_a_repository_beside_it(shell: Shell, home: Path, words: list[str]) -> None:
    """git would add .git to the name."""
    for name in ("store.git", "empty.git"):
        subprocess.run(["git", "init", "-q", "--bare", str(home / name)], check=True)
        commit(home / name, "refs/heads/secret-branch", "first")
        for setting, value in (("annex.uuid", CLIENT), ("annex.version", "10")):
            subprocess.run(["git", "-C", str(home / name), "config", setting, value], check=True)
    done = shell.run(*words, stdin="0000")
    assert done.returncode != 0
    assert "secret-branch" not in done.stdout
    assert CLIENT not in done.stdout


def test_git_gets_no_words_of_the_client(shell: Shell, home: Path) -> None:
    """Only one directory, in git-shell's own quoting."""
    name = "it's a !repository"
    subprocess.run(["git", "init", "-q", "--bare", str(home / name)], check=True)
    assert shell.run("-c", 'git-upload-pack "@/it\'s a !repository"', stdin="0000").stdout == "0000"
    for line in ("git-upload-pack --strict '@/bare.git'", "git-upload-pack '@/bare.git' '@/bare.git'"):
        for allowed in ({"GIT_ANNEX_SHELL_DIRECTORY": "@/bare.git"}, {}):
            assert shell.run("-c", line, stdin="0000", **allowed).stdout == ""


def push(shell: Shell, *words: str, **environment: str) -> str:
    """Push over p2pannex-shell; what git prints."""
    variables = {name: value.replace("@", str(shell.home)) for name, value in environment.items()}
    ssh = shell.home / "ssh"
    ssh.write_text(f'#!/bin/sh\nshift\nexec {shlex.join(shell.command("-c"))} "$*"\n')
    ssh.chmod(0o755)
    done = subprocess.run(
        ["git", "-C", str(shell.home / "client"), "push", f"me@there:{shell.home}/bare.git", *words],
        env={**shell.environment, **variables, "GIT_SSH": str(ssh), "GIT_SSH_VARIANT": "simple", "LC_ALL": "C"},
        capture_output=True,
        text=True,
    )
    return done.stderr


def test_who_may_only_append_can_push_but_not_overwrite(shell: Shell, home: Path) -> None:
    subprocess.run(["git", "init", "-q", str(home / "client")], check=True)
    commit(home / "client", "refs/heads/one", "first")
    commit(home / "client", "refs/heads/two", "unrelated")
    append = {"GIT_ANNEX_SHELL_APPENDONLY": "1"}
    assert "[new branch]" in push(shell, "one:main", **append)
    assert "up-to-date" in push(shell, "one:main", **append)
    assert "non-fast-forward" in push(shell, "+two:main", **append)
    assert "deletion prohibited" in push(shell, ":main", **append)
    refusal = "p2pannex-shell: action blocked by GIT_ANNEX_SHELL_READONLY"
    assert refusal in push(shell, "two:other", GIT_ANNEX_SHELL_READONLY="1")
    assert "forced update" in push(shell, "+two:main")
