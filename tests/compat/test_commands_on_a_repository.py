"""The commands of p2pannex on the path of a git-annex repository, and what git-annex says of it afterwards."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from p2pannex.cli import exit_codes
from tests.compat.annex_environment import AnnexEnvironment

pytestmark = pytest.mark.compat

P2PANNEX = (sys.executable, "-m", "p2pannex.cli.main")
CONTENT = "some content\n" * 1000


class Commands:
    """A repository, in the work tree of which (if it has one) commands are run."""

    def __init__(self, environment: AnnexEnvironment, bare: bool) -> None:
        self.environment = environment
        self.path = environment.repository("repository", *(["--bare"] if bare else []))
        self.uuid = environment.uuid(self.path)
        self.git_dir = self.path if bare else self.path / ".git"
        self.file = environment.home / "film.txt"
        self.file.write_text(CONTENT)
        self.key = self.annex("calckey", "--backend=SHA256E", str(self.file)).stdout.strip()

    def run(self, *command: str, code: int = exit_codes.DONE) -> str:
        done = self.environment.run(*P2PANNEX, *command, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def annex(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.environment.run("git", "annex", *command, cwd=self.path, check=check)

    def whereis(self) -> list[str]:
        """Where git-annex believes the content to be."""
        said = self.annex("whereis", "--json", "--key", self.key, check=False).stdout
        return [place["uuid"] for place in json.loads(said)["whereis"]]

    def info(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.run("info", str(self.path), "--json"))
        return facts

    def check(self) -> None:
        """git-annex finds nothing to complain of, and nothing was left behind."""
        checked = self.annex("fsck", "--all", check=False)
        assert "fixing location log" not in checked.stdout
        assert "failed" not in checked.stdout or "No known copies exist" in checked.stderr
        for directory in ("journal", "tmp"):
            assert not [path for path in (self.git_dir / "annex" / directory).rglob("*") if path.is_file()]


@pytest.fixture(params=["bare", "with a work tree"])
def repository(request: pytest.FixtureRequest, annex_env: AnnexEnvironment) -> Iterator[Commands]:
    one = Commands(annex_env, request.param == "bare")
    yield one
    one.check()


def test_put_get_check_remove_info(repository: Commands) -> None:
    path, key = str(repository.path), repository.key
    assert repository.run("check", path, key, code=exit_codes.NO) == f"absent {key}\n"
    assert repository.run("put", path, str(repository.file)) == f"{key}\n"
    assert repository.whereis() == [repository.uuid]
    repository.annex("fsck", "-q", "--key", key)
    assert repository.run("check", path, key) == f"present {key}\n"
    assert repository.info() == {
        "uuid": repository.uuid,
        "kind": "git-annex repository",
        "path": path,
        "keys": 1,
        "bytes": len(CONTENT),
        "partials": 0,
        "partial_bytes": 0,
        "removal_deadlines": "yes",
    }
    copy = repository.environment.home / "copy"
    repository.run("get", path, key, "-o", str(copy))
    assert copy.read_text() == CONTENT
    assert repository.run("remove", path, key) == f"removed {key}\n"
    assert repository.whereis() == []
    assert repository.run("check", path, key, code=exit_codes.NO) == f"absent {key}\n"
    assert repository.info()["keys"] == 0


def test_lock_holds_against_git_annex(repository: Commands) -> None:
    path, key = str(repository.path), repository.key
    repository.run("put", path, str(repository.file))
    drop = ("git", "-C", path, "annex", "drop", "--force", "--key", key)
    assert repository.run("lock", path, key, "--", *drop, code=1).startswith(f"drop {key}")
    assert repository.whereis() == [repository.uuid]
    repository.environment.run(*drop)
    assert repository.whereis() == []
    assert repository.run("check", path, key, code=exit_codes.NO) == f"absent {key}\n"
    repository.run("lock", path, key, "--", "true", code=exit_codes.NO)


def test_copy_between_a_repository_and_a_store(repository: Commands) -> None:
    path, key, store = str(repository.path), repository.key, str(repository.environment.home / "store")
    repository.run("init", store)
    repository.run("put", store, str(repository.file))
    assert repository.run("copy", store, path, key) == f"{key}\n"
    assert repository.whereis() == [repository.uuid]
    repository.run("remove", store, key, "--while-locked-on", path)
    assert repository.run("copy", path, store, key) == f"{key}\n"
    repository.run("remove", path, key, "--while-locked-on", store)
    assert repository.whereis() == []


def test_what_git_annex_added(annex_env: AnnexEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A work tree's file: locked, its content goes and comes back under the same link."""
    repository = Commands(annex_env, bare=False)
    file = repository.path / "file.txt"
    file.write_text(CONTENT)
    repository.annex("add", "-q", "file.txt")
    annex_env.run("git", "commit", "-qm", "file", cwd=repository.path)
    path, key = str(repository.path), repository.key
    assert repository.run("check", path, key) == f"present {key}\n"
    assert repository.info()["bytes"] == len(CONTENT)
    repository.run("remove", path, key)
    assert not file.exists()
    assert os.path.islink(file)
    repository.run("put", path, str(repository.file))
    assert file.read_text() == CONTENT
    assert repository.annex("find", "--in=here").stdout == "file.txt\n"
    repository.check()


def test_tokens_of_a_repository(annex_env: AnnexEnvironment) -> None:
    """Sockets of a repository have tokens of ours, which git-annex leaves alone."""
    repository = Commands(annex_env, bare=False)
    path, socket = str(repository.path), annex_env.home / "sock"
    token = repository.run("token", "create", path, "--mode", "read-only").strip()
    assert (repository.git_dir / "annex/p2pannex/p2pannex.access").stat().st_mode & 0o777 == 0o600
    repository.run("put", path, str(repository.file))
    with subprocess.Popen(
        [*P2PANNEX, "serve", path, "--listen", f"unix:{socket}", "--quiet"], env=annex_env.variables
    ) as server:
        try:
            for _ in range(3000):
                if socket.exists():
                    break
                assert server.poll() is None
                annex_env.run("sleep", "0.01")
            shown = ("--token", token)
            assert repository.run("check", f"unix:{socket}", repository.key, *shown) == f"present {repository.key}\n"
            repository.run("remove", f"unix:{socket}", repository.key, *shown, code=exit_codes.NO)
        finally:
            server.terminate()
    assert server.returncode == 0
    assert repository.whereis() == [repository.uuid]
    repository.check()
