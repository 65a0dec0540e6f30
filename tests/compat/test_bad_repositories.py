"""Repositories that cannot be served, made by git and git-annex: what p2pannex-shell and ``p2pannex info`` say.

It is one line, which names the repository and what to do.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.compat.annex_environment import AnnexEnvironment, program

pytestmark = pytest.mark.compat

CLIENT = "c1c1c1c1-2222-4333-8444-555555555555"
KEY = "SHA256-s5--2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
MAIN = f"#!{sys.executable}\nimport sys\nfrom p2pannex.cli.main import main\nsys.exit(main())\n"


@pytest.fixture
def env(annex_env: AnnexEnvironment, programs: Path) -> AnnexEnvironment:
    program(programs / "p2pannex", MAIN)
    return annex_env


def said_by_both(env: AnnexEnvironment, path: Path) -> str:
    """The one line that both programs refuse with, without their names."""
    lines = []
    for command in (["p2pannex-shell", "p2pstdio", str(path), CLIENT], ["p2pannex", "info", str(path)]):
        done = env.run(*command, check=False)
        assert done.returncode != 0
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1, done.stderr
        lines.append(done.stderr.removeprefix(f"{command[0]}: ").strip())
    assert lines[0] == lines[1]
    return lines[0]


def old_version(env: AnnexEnvironment) -> Path:
    path = env.repository("r")
    env.run("git", "config", "annex.version", "8", cwd=path)
    return path


def corrupt_config(env: AnnexEnvironment) -> Path:
    path = env.repository("r")
    (path / ".git/config").write_text((path / ".git/config").read_text() + "corrupt[\n")
    return path


def no_uuid(env: AnnexEnvironment) -> Path:
    env.run("git", "init", "-q", "r")
    return env.home / "r"


def with_a_commit(env: AnnexEnvironment, name: str) -> Path:
    path = env.repository(name)
    env.run("git", "commit", "-q", "--allow-empty", "-m", "first", cwd=path)
    return path


def of_another_user(env: AnnexEnvironment) -> Path:
    if os.getuid() != 0:
        pytest.skip("only root can give a repository to another user")
    path = env.repository("r")
    env.run("chown", "-R", "12345", path)
    return path


@pytest.mark.parametrize(
    ("make", "start", "advice"),
    [
        (old_version, "{} is a git-annex repository of version 8", "git annex upgrade"),
        (corrupt_config, "git refuses to read {}: bad config line", "config"),
        (no_uuid, "{} has no annex.uuid", "git annex init"),
        (of_another_user, "git refuses to read {}: detected dubious ownership", "--add safe.directory"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_refused(env: AnnexEnvironment, make: Callable[[AnnexEnvironment], Path], start: str, advice: str) -> None:
    path = make(env)
    line = said_by_both(env, path)
    assert line.startswith(start.format(path))
    assert advice in line


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """The directory on a file system that cannot be written to, for root neither."""
    for options in (["--bind", str(path), str(path)], ["-o", "remount,bind,ro", str(path)]):
        if subprocess.run(["mount", *options], capture_output=True).returncode:
            subprocess.run(["umount", path], capture_output=True)
            pytest.skip("mounting is not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


def test_read_only_media(env: AnnexEnvironment) -> None:
    path = env.repository("r", "--bare")
    uuid = env.uuid(path)
    (env.home / "hello").write_text("hello")
    env.run("p2pannex", "put", str(path), "--key", KEY, env.home / "hello")
    with read_only(path):
        assert uuid in env.run("p2pannex", "info", str(path)).stdout
        assert env.run("p2pannex", "check", str(path), KEY).returncode == 0
        for command in (
            ["put", str(path), "--key", KEY.replace("2cf2", "2cf3"), str(env.home / "hello")],
            ["remove", str(path), KEY],
        ):
            done = env.run("p2pannex", *command, check=False)
            assert done.returncode != 0
            assert done.stderr.count("\n") == 1
            assert "read-only" in done.stderr


def test_secure_hashes_only_for_all_clones(env: AnnexEnvironment) -> None:
    """git-annex copies the setting from its branch to git's configuration when it is told or initialised, and goes by
    that one alone; so do we."""
    path = env.repository("r", "--bare")
    clone = env.home / "clone"
    env.run("git", "clone", "-q", path, clone)
    env.run("git", "annex", "init", "-q", cwd=clone)
    env.run("git", "annex", "config", "--set", "annex.securehashesonly", "true", cwd=clone)
    env.run("git", "push", "-q", "origin", "git-annex", cwd=clone)
    (env.home / "x").write_text("x")
    env.run("p2pannex", "put", str(path), "--key", "WORM-s1-m1--before", env.home / "x")
    env.run("git", "annex", "init", "-q", cwd=path)
    done = env.run("p2pannex", "put", str(path), "--key", "WORM-s1-m1--after", env.home / "x", check=False)
    assert done.returncode != 0
    assert "annex.securehashesonly" in done.stderr
