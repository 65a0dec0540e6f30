"""p2pannex-shell as an account's login shell: git and git-annex, which know nothing of it, work over a real sshd."""

import contextlib
import shlex
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
import trio

from p2pannex.urls import open_url
from tests.compat.annex_environment import CHECKOUT, AnnexEnvironment, SshServer, program

pytestmark = pytest.mark.compat

CONNECT = f"""#!{sys.executable}
import sys
sys.path.insert(0, {CHECKOUT!r})
import trio
from p2pannex.transports.descriptor import DescriptorStream
from p2pannex.urls import open_url

async def main():
    async with await open_url(sys.argv[1]) as service:
        return await service.connect(sys.argv[2], DescriptorStream(0, 1))

sys.exit(trio.run(main))
"""
"""A transport for git (see git-remote-ext): CONNECT, by our client."""


class Client:
    """A home directory with clones of a repository on the server."""

    def __init__(self, environment: AnnexEnvironment, sshd: SshServer) -> None:
        self.environment = environment
        self.server = environment.home / "server.git"
        self.url = sshd.url(self.server)
        self.port = sshd.port
        self.ssh = f"ssh -F {shlex.quote(str(sshd.login))}"
        self.variables = {"GIT_SSH_COMMAND": self.ssh, "GIT_ANNEX_USE_GIT_SSH": "1"}

    def run(self, *command: str, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.environment.run(*command, cwd=cwd, check=check, variables=self.variables)

    def git(self, clone: Path, *words: str) -> str:
        return self.run("git", *words, cwd=clone).stdout.strip()

    def clone(self, name: str) -> Path:
        """A clone, made over ssh."""
        self.run("git", "clone", "-q", self.url, name)
        clone = self.environment.home / name
        self.git(clone, "annex", "init", "-q", name)
        return clone

    def add(self, clone: Path, name: str, content: bytes) -> None:
        (clone / name).write_bytes(content)
        self.git(clone, "annex", "add", "-q", name)
        self.git(clone, "commit", "-q", "-m", f"add {name}")

    def commit(self, clone: Path, message: str) -> str:
        self.git(clone, "commit", "-q", "--allow-empty", "-m", message)
        return self.git(clone, "rev-parse", "HEAD")


@pytest.fixture
def client(annex_env: AnnexEnvironment, sshd: SshServer) -> Client:
    return Client(annex_env, sshd)


def test_a_new_repository_is_pushed_synced_and_cloned(client: Client) -> None:
    """To a repository that git-annex was never used in: it is initialised on the way."""
    client.run("git", "init", "-q", "--bare", str(client.server))
    one = client.environment.repository("one")
    client.git(one, "remote", "add", "origin", client.url)
    client.add(one, "first", b"of one" * 1000)
    client.git(one, "annex", "sync", "--content")
    uuid = client.environment.uuid(client.server)
    assert uuid
    assert client.git(one, "config", "remote.origin.annex-uuid") == uuid

    two = client.clone("two")
    assert not (two / "first").exists()
    client.git(two, "annex", "sync", "--content")
    assert (two / "first").read_bytes() == b"of one" * 1000
    client.add(two, "second", b"of two" * 1000)
    client.git(two, "annex", "sync", "--content")

    client.git(one, "annex", "sync", "--content")
    assert (one / "second").read_bytes() == b"of two" * 1000
    commit = client.commit(one, "a branch of git alone")
    client.git(one, "push", "-q", "origin", "HEAD:refs/heads/topic")
    client.git(two, "fetch", "-q", "origin")
    assert client.git(two, "rev-parse", "origin/topic") == commit

    listed = client.git(client.server, "annex", "whereis", "--all")
    assert listed.count(uuid) == 2
    client.git(client.server, "annex", "fsck", "--all")


@pytest.mark.parametrize("command", ["true", "sh -c true", "git-annex-shell", ""])
def test_the_account_gets_no_other_program(client: Client, command: str) -> None:
    """Neither a command nor, without one, a shell."""
    done = client.run("sh", "-c", f"{client.ssh} -p {client.port} localhost {shlex.quote(command)}", check=False)
    assert done.returncode not in (0, 255)
    assert done.stdout == ""
    assert done.stderr.strip()


def test_autoinit_is_as_git_annex_does_it(client: Client) -> None:
    environment = client.environment
    commands = {"theirs": "git-annex-shell", "ours": "p2pannex-shell"}
    made: dict[str, list[str]] = {}
    for name, shell in commands.items():
        bare, branch, prevented = (environment.home / f"{name}-{kind}" for kind in ("bare", "branch", "prevented"))
        client.run("git", "init", "-q", "--bare", str(bare))
        said = client.run(shell, "configlist", str(bare), "--", "autoinit=1", "--").stdout
        assert said == f"annex.uuid={environment.uuid(bare)}\ncore.gcrypt-id=\n"
        client.run("git", "clone", "-q", "--bare", str(bare), str(branch))
        said = client.run(shell, "configlist", str(branch)).stdout
        assert said == f"annex.uuid={environment.uuid(branch)}\ncore.gcrypt-id=\n"
        client.run("git", "init", "-q", str(prevented))
        (prevented / ".noannex").write_text("because\n")
        done = client.run(shell, "configlist", str(prevented), "--", "autoinit=1", check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Initialization prevented by .noannex file" in done.stderr
        settings = client.git(branch, "config", "--list", "--local", "--name-only").split()
        made[name] = sorted(setting for setting in settings if not setting.startswith("remote."))
    assert made["ours"] == made["theirs"]
    uuids = {environment.uuid(environment.home / f"{name}-bare") for name in commands}
    assert len(uuids) == len(commands)


@pytest.fixture(params=["bare", "with a work tree"])
def server(client: Client, request: pytest.FixtureRequest) -> Client:
    """The client of a repository of git-annex, with a commit in it."""
    bare = ["--bare"] if request.param == "bare" else []
    client.environment.repository(client.server.name, *bare)
    first = client.environment.repository("first")
    client.commit(first, "first")
    client.git(first, "push", "-q", str(client.server), "HEAD:refs/heads/pushed")
    return client


@pytest.fixture
def over_ssh(client: Client, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the server, for our own client in this process."""
    monkeypatch.setenv("GIT_SSH_COMMAND", client.ssh)
    return client.url


def test_git_over_connect(server: Client) -> None:
    """git's fetch and push, carried by the protocol."""
    connect = program(server.environment.home / "connect", CONNECT)
    url = f"ext::{connect} {server.url} %S"
    clone = server.environment.home / "clone"
    allowed = ("-c", "protocol.ext.allow=always")
    server.run("git", *allowed, "clone", "-q", "-b", "pushed", url, str(clone))
    large = clone / "large"
    large.write_bytes(bytes(range(256)) * 20000)
    server.git(clone, "add", "large")
    commit = server.commit(clone, "by connect")
    server.git(clone, *allowed, "push", "-q", "origin", "HEAD:refs/heads/connected")
    assert server.git(server.server, "rev-parse", "connected") == commit
    refused = server.run("git", *allowed, "push", "origin", "HEAD~1:refs/heads/connected", cwd=clone, check=False)
    assert refused.returncode == 1
    assert "rejected" in refused.stderr
    server.git(server.server, "update-ref", "refs/heads/other", commit)
    server.git(clone, *allowed, "fetch", "-q", "origin")
    assert server.git(clone, "rev-parse", "origin/other") == commit


async def test_a_push_is_seen_by_a_client_that_waits(server: Client, over_ssh: str) -> None:
    first = server.environment.home / "first"
    async with await open_url(over_ssh) as service, contextlib.aclosing(service.changes()) as changes:
        await until_told(changes, server.git(first, "rev-parse", "HEAD"))
        commit = server.commit(first, "second")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, server.git, first, "push", server.url, "HEAD:pushed")
            await until_told(changes, commit)


async def until_told(changes: AsyncGenerator[tuple[str, ...], None], name: str) -> None:
    while name not in await anext(changes):
        pass


@contextlib.contextmanager
def remotedaemon(client: Client, clone: Path) -> Iterator[None]:
    with subprocess.Popen(
        ["git-annex", "remotedaemon", "--foreground"],
        cwd=clone,
        env=client.environment.variables | client.variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield
        finally:
            process.terminate()


def test_git_annexs_own_watcher_fetches_what_is_pushed(client: Client) -> None:
    client.environment.repository(client.server.name, "--bare")
    first = client.environment.repository("first")
    client.commit(first, "first")
    client.git(first, "push", "-q", str(client.server), "HEAD:refs/heads/pushed")
    clone = client.clone("clone")
    client.git(clone, "annex", "info", "-q")
    with remotedaemon(client, clone):
        commit = client.commit(first, "second")
        client.git(first, "push", "-q", client.url, "HEAD:pushed")
        deadline = time.monotonic() + 60
        while client.git(clone, "rev-parse", "origin/pushed") != commit:
            assert time.monotonic() < deadline
            time.sleep(0.1)
