"""A real git-annex client whose remote is a directory store, served by p2pannex-shell behind a real sshd."""

import re
import sys
from pathlib import Path

import pytest

from p2pannex.stores.directory import DirectoryStore
from tests.compat.annex_environment import AnnexEnvironment, SshServer, program

pytestmark = pytest.mark.compat

# Stands between ssh and p2pannex-shell, and asks for a lower version than the client did.
LOWER_VERSION = f"""#!{sys.executable}
import os, subprocess, sys
command = ["p2pannex-shell", *sys.argv[1:]]
if sys.argv[1] != "p2pstdio":
    os.execvp(command[0], command)
with subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0) as server:
    line = b""
    while not line.endswith(b"\\n") and (byte := os.read(0, 1)):
        line += byte
    asked = line.startswith(b"VERSION ")
    server.stdin.write(b"VERSION %(version)d\\n" if asked else line)
    open(%(seen)r, "a").write(line.decode())
    while data := os.read(0, 1 << 20):
        server.stdin.write(data)
    server.stdin.close()
sys.exit(server.returncode)
"""


class Client:
    """A git-annex repository with a remote named ``store``."""

    def __init__(self, environment: AnnexEnvironment, sshd: SshServer, shell: str) -> None:
        self.environment = environment
        self.path = environment.repository("client")
        self.store = DirectoryStore.create(environment.home / "the store")
        self.git("remote", "add", "store", sshd.url(environment.home / "the%20store"))
        self.git("config", "remote.store.annex-shell", shell)
        self.git("config", "remote.store.annex-ssh-options", f"-F {sshd.config}")

    def git(self, *words: str, check: bool = True) -> str:
        return self.environment.run("git", *words, cwd=self.path, check=check).stdout

    def annex(self, *words: str) -> str:
        return self.git("annex", *words)

    def add(self, name: str, content: bytes) -> None:
        (self.path / name).write_bytes(content)
        self.annex("add", "-q", name)

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    def store_has(self, content: bytes) -> bool:
        files = (path for path in Path(str(self.store.path, "utf-8")).glob("annex/objects/*/*/*/*") if path.is_file())
        return any(path.read_bytes() == content for path in files)


@pytest.fixture
def client(annex_env: AnnexEnvironment, sshd: SshServer) -> Client:
    return Client(annex_env, sshd, "p2pannex-shell")


def everyday_work(client: Client) -> None:
    contents = {"small": b"hello", "empty": b"", "large": bytes(range(256)) * 20000}
    for name, content in contents.items():
        client.add(name, content)
    client.annex("copy", "--to", "store", ".")
    assert client.git("config", "remote.store.annex-uuid").strip() == client.store.uuid
    for name, content in contents.items():
        assert client.store_has(content)
        assert client.store.uuid in client.annex("whereis", name)
    client.annex("fsck", "--from", "store", ".")

    client.annex("drop", ".")  # which it may only because the store locks what it has
    assert not any(client.has(name) for name in contents)
    client.annex("get", ".")
    for name, content in contents.items():
        assert (client.path / name).read_bytes() == content

    client.annex("drop", "--from", "store", "small")
    assert not client.store_has(b"hello")
    client.annex("move", "--to", "store", "small")
    assert client.store_has(b"hello")
    assert not client.has("small")
    client.annex("move", "--from", "store", "small")
    assert not client.store_has(b"hello")
    assert (client.path / "small").read_bytes() == b"hello"


def passed_by_git_annex(client: Client) -> int:
    """Have git-annex test the remote in its own way; how many tests passed."""
    done = client.environment.run("git", "annex", "testremote", "store", cwd=client.path, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    match = re.search(r"All (\d+) tests passed", done.stdout)
    assert match is not None, done.stdout[-2000:]
    return int(match[1])


def test_everyday_work(client: Client) -> None:
    everyday_work(client)


def test_fsck_finds_what_the_store_lost(client: Client) -> None:
    client.add("file", b"content")
    client.annex("copy", "--to", "store", "file")
    for path in Path(str(client.store.path, "utf-8")).glob("annex/objects/*/*/*/*"):
        path.parent.chmod(0o755)
        path.unlink()
    done = client.environment.run("git", "annex", "fsck", "--from", "store", "file", cwd=client.path, check=False)
    assert done.returncode == 1
    assert client.store.uuid not in client.annex("whereis", "file")


def test_the_last_copy_is_not_dropped(client: Client) -> None:
    client.add("file", b"content")
    client.annex("move", "--to", "store", "file")
    done = client.environment.run("git", "annex", "drop", "--from", "store", "file", cwd=client.path, check=False)
    assert done.returncode == 1
    assert client.store_has(b"content")


def test_git_annex_tests_the_remote(client: Client) -> None:
    assert passed_by_git_annex(client) >= 573


def test_behind_a_key_that_may_run_nothing_else(client: Client, sshd: SshServer) -> None:
    client.git("config", "remote.store.annex-ssh-options", f"-F {sshd.restricted}")
    client.git("config", "--unset", "remote.store.annex-shell")  # p2pannex-shell also goes by git-annex-shell's name
    everyday_work(client)
    for command in ("id", "git-upload-pack '/x'", "git-annex-shell 'foo' '/x'"):
        done = client.environment.run(
            "ssh", "-F", sshd.restricted, "-p", str(sshd.port), "localhost", command, check=False
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "p2pannex-shell: action blocked by GIT_ANNEX_SHELL_LIMITED\n"


def lowered(environment: AnnexEnvironment, sshd: SshServer, version: int) -> tuple[Client, Path]:
    seen = environment.home / "seen"
    relay = program(
        environment.home / "relay",
        LOWER_VERSION.replace("%(version)d", str(version)).replace("%(seen)r", repr(str(seen))),
    )
    return Client(environment, sshd, str(relay)), seen


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_everyday_work_at_an_older_version(annex_env: AnnexEnvironment, sshd: SshServer, version: int) -> None:
    client, seen = lowered(annex_env, sshd, version)
    everyday_work(client)
    assert set(seen.read_text().splitlines()) == {"VERSION 4"}


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_git_annex_tests_the_remote_at_an_older_version(
    annex_env: AnnexEnvironment, sshd: SshServer, version: int
) -> None:
    client, _ = lowered(annex_env, sshd, version)
    assert passed_by_git_annex(client) >= 573
