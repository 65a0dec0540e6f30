"""Git repositories that become git-annex repositories when a client asks."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.shell.shell import CLIENT, Shell, commit


@pytest.mark.parametrize("name", ["bare.git", "nonbare"])
def test_a_git_repository_and_no_more(shell: Shell, name: str) -> None:
    for fields in ([], ["--"], ["--", "autoinit=0", "--"], ["--", "other=1"]):
        done = shell.run("configlist", f"@/{name}", *fields)
        assert (done.returncode, done.stdout, done.stderr) == (0, "annex.uuid=\ncore.gcrypt-id=\n", "")
    said = shell.refuses("p2pstdio", f"@/{name}", CLIENT)
    assert said == (
        f"@/{name} has no annex.uuid; git annex init gives a new repository one, git annex reinit UUID gives back one "
        "that it had"
    )


def without_git_annex(home: Path) -> str:
    """A PATH with git, and without git-annex."""
    programs = home / "programs"
    programs.mkdir()
    git = shutil.which("git")
    assert git is not None
    (programs / "git").symlink_to(git)
    return str(programs)


def test_initialisation_without_git_annex(shell: Shell, home: Path) -> None:
    path = without_git_annex(home)
    wanted = ("configlist", "@/bare.git", "--", "autoinit=1", "--")
    problem = "@/bare.git has no annex.uuid, and git-annex, which would initialise it, is not installed here"
    assert shell.refuses(*wanted, PATH=path) == problem
    assert shell.refuses(*wanted, GIT_ANNEX_SHELL_READONLY="1") == "action blocked by GIT_ANNEX_SHELL_READONLY"
    assert shell.run("configlist", "@/bare.git", PATH=path).returncode == 0
    commit(home / "bare.git", "refs/heads/git-annex", "branch created")
    assert shell.refuses("configlist", "@/bare.git", PATH=path) == problem


def test_another_user_who_locks_the_git_directory(shell: Shell, home: Path) -> None:
    """All who may read the directory can lock it: that does not stop configlist, and no file is left."""
    directory = os.open(home / "bare.git", os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    before = set(os.listdir(home / "bare.git"))
    wanted = ("configlist", "@/bare.git", "--", "autoinit=1", "--")
    assert "is not installed here" in shell.refuses(*wanted, PATH=without_git_annex(home))
    assert set(os.listdir(home / "bare.git")) == before
    os.close(directory)


def test_an_owner_who_wants_no_initialisation(shell: Shell, home: Path) -> None:
    subprocess.run(["git", "-C", str(home / "bare.git"), "config", "annex.autoinit", "false"], check=True)
    commit(home / "bare.git", "refs/heads/git-annex", "branch created")
    done = shell.run("configlist", "@/bare.git", "--", "autoinit=1", "--")
    assert (done.returncode, done.stdout, done.stderr) == (0, "annex.uuid=\ncore.gcrypt-id=\n", "")
