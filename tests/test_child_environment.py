"""No program that p2pannex starts gets a token: each kind of program is run, and shows its environment."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import p2pannex
from p2pannex.child_environment import child_environment
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.git_annex.config import run
from p2pannex.git_annex.creds import current_git_dir
from p2pannex.git_annex.git import Git
from p2pannex.git_annex.hooks import Hook
from p2pannex.stores.external.store import ExternalStore
from p2pannex.transports.network import NetworkAddress, network_listener
from p2pannex.urls import open_url
from tests.support.waiting import until

SECRETS = ("P2PANNEX_TOKEN", "P2PANNEX_TOKENS", "P2PANNEX_TO_TOKEN", "P2PANNEX_HOLDER_TOKEN", "P2PANNEX_PASSWORD_X")
STARTERS = {"open_process", "run_process", "Popen", "run", "call", "check_call", "check_output", "posix_spawn"}
STARTERS |= {"posix_spawnp", "system", "popen", "execv", "execve", "execvp", "execvpe", "execl", "execlp", "spawnv"}
MODULES = {"subprocess", "os", "lowlevel"}


def test_what_is_taken_out() -> None:
    kept = {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "of the special remote", "P2PANNEX_TIMEOUT": "3"}
    assert child_environment(kept | dict.fromkeys((*SECRETS, "GIT_ANNEX_P2P_AUTHTOKEN"), "x")) == kept


@pytest.fixture
def shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that appends its environment to the file `seen` and fails; it is all programs on the PATH."""
    for name in (*SECRETS, "GIT_ANNEX_P2P_AUTHTOKEN"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("P2PANNEX_TOKENS", "unix:/hunter2 hunter2")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("ssh", "git", "git-annex-p2p-net", "program", "git-shell"):
        (programs / name).write_text(f"#!/bin/sh\n/usr/bin/env >>{tmp_path}/seen\nexit 1\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    for name in ("GIT_SSH", "GIT_SSH_COMMAND"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def no_secret(shows: Path) -> None:
    seen = (shows / "seen").read_text()
    assert "PATH=" in seen, "it was not run"
    assert "hunter2" not in seen


@pytest.mark.parametrize("url", ["exec:program", "ssh://host/dir", "p2p-annex::net:some.where"])
async def test_programs_of_urls(shows: Path, url: str) -> None:
    with pytest.raises(ConnectionLost):
        await open_url(url, token="a", capture_stderr=True)
    no_secret(shows)


async def test_the_program_of_a_network_that_is_listened_on(shows: Path) -> None:
    async with network_listener(NetworkAddress("net", "some.where")):
        await until(lambda: (shows / "seen").exists() and "PATH=" in (shows / "seen").read_text())
    no_secret(shows)


async def test_special_remotes(shows: Path) -> None:
    async with ExternalStore("u", "program", {}, shows / "spool", shows / "state") as store:
        with pytest.raises(RemoteError):
            await store.cost()
    no_secret(shows)


def test_hooks(shows: Path) -> None:
    assert not Hook(os.fsencode(shows), {"annex.freezecontent-command": "program %path"}, "freezecontent", "%path").run(
        b"x"
    )
    no_secret(shows)


async def test_git(shows: Path) -> None:
    with pytest.raises(RemoteError):
        Git(os.fsencode(shows)).run("status")
    no_secret(shows)
    (shows / "seen").unlink()
    run(b"git", b"config")
    no_secret(shows)
    (shows / "seen").unlink()
    assert await current_git_dir() is None
    no_secret(shows)


@pytest.mark.parametrize(
    "arguments",
    [["p2pannex.cli.shell.main", "-c", "git-upload-pack 'x'"], ["p2pannex.cli.main", "lock", "STORE", "K", "program"]],
)
def test_commands_that_the_programs_run(shows: Path, arguments: list[str]) -> None:
    from p2pannex.keys.key import Key
    from p2pannex.stores.directory import DirectoryStore

    store = DirectoryStore.create(shows / "store")
    key = Key.parse(b"WORM-s1--a")
    path = Path(os.fsdecode(store.path)) / "file"
    path.write_bytes(b"x")
    subprocess.run(
        [sys.executable, "-m", "p2pannex.cli.main", "put", shows / "store", path, "--key", str(key)], check=True
    )
    words = [{"STORE": str(shows / "store"), "K": str(key)}.get(word, word) for word in arguments]
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, check=False)
    assert done.returncode == 1, done.stderr
    no_secret(shows)


def starts(path: Path) -> list[ast.Call]:
    """The calls in a module that start a program."""
    return [
        node
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in STARTERS
        and (ast.unparse(node.func.value).rpartition(".")[2] in MODULES or ast.unparse(node.func) == "trio.run_process")
    ]


def test_no_program_is_started_another_way() -> None:
    """Each call that starts one has an environment, which is made by `child_environment`, or by one that calls it."""
    package = Path(p2pannex.__file__).parent
    found = 0
    for path in package.rglob("*.py"):
        if "benchmarks" in path.parts:
            continue  # `benchmarks.stdio.environment` makes the environment of all
        for call in starts(path):
            found += 1
            text = ast.unparse(call)
            made = ("child_environment(", "git_environment()", "self.environment(", "_git.environment()")
            where = f"{path.relative_to(package)}:{call.lineno}"
            if "posix_spawnp" in text:
                assert "git_environment()" in path.read_text(), where
            else:
                assert any(one in text for one in made), f"{where} starts a program that gets all of our environment"
            if any(word in text for word in ("git-shell", "'git'", "'sh'", "b'git'", "command.encode()")):
                assert "child_environment(" not in text or path.name == "creds.py", (
                    f"{where}: git in another repository"
                )
    assert found > 10
