"""A cluster without git, behind the real git-annex: three nodes, one a directory, one served by p2pannex-shell, one a
git-annex repository served by the real git-annex-shell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.compat.annex_environment import AnnexEnvironment, SshServer

pytestmark = pytest.mark.compat


@pytest.fixture
def gateway(annex_env: AnnexEnvironment) -> Path:
    home, path = annex_env.home, annex_env.home / "gateway"
    annex_env.run("p2pannex", "cluster", "init", path, "--name", "family")
    for name in ("attic", "shelf"):
        annex_env.run("p2pannex", "init", home / name)
    cellar = annex_env.repository("cellar", "--bare")
    nodes = {
        "attic": str(home / "attic"),
        "shelf": f"exec:p2pannex-shell p2pstdio {home}/shelf me",
        "cellar": f"exec:git-annex-shell p2pstdio {cellar} me --uuid {annex_env.uuid(cellar)}",
    }
    for name, url in nodes.items():
        annex_env.run("p2pannex", "cluster", "add", path, name, url)
    return path


@pytest.fixture
def client(annex_env: AnnexEnvironment, sshd: SshServer, gateway: Path) -> Path:
    """A repository whose remote is the gateway."""
    client = annex_env.repository("client")
    annex_env.run("git", "remote", "add", "cluster", sshd.url(gateway), cwd=client)
    annex_env.run("git", "config", "remote.cluster.annex-shell", "p2pannex-shell", cwd=client)
    annex_env.run("git", "config", "remote.cluster.annex-ssh-options", f"-F {sshd.config}", cwd=client)
    return client


def test_everyday_work(annex_env: AnnexEnvironment, client: Path, gateway: Path) -> None:
    def annex(*words: str) -> str:
        return annex_env.run("git", "annex", *words, cwd=client).stdout

    def holders() -> list[bool]:
        """Which of the nodes have a file's content."""
        return [
            any(
                path.is_file() and path.read_text() == "content 1"
                for path in (annex_env.home / name).rglob("SHA256E-*")
            )
            for name in ("attic", "shelf", "cellar")
        ]

    for number in range(3):
        (client / f"file{number}").write_text(f"content {number}")
    annex("add", ".")
    annex("copy", "--to", "cluster", ".")
    assert holders() == [True, True, True]
    # Three copies, but one repository to the client: were the nodes counted too, numcopies would be met by one copy.
    assert "(2 copies)" in annex("whereis", "file1")
    annex("fsck", "--from", "cluster")
    annex("drop", ".")
    assert not (client / "file1").exists()
    annex("get", ".")
    assert (client / "file1").read_text() == "content 1"
    annex("drop", "--from", "cluster", "file1")
    assert holders() == [False, False, False]
    annex("move", "--to", "cluster", "file1")
    assert holders() == [True, True, True]
    annex("move", "--from", "cluster", "file1")
    assert holders() == [False, False, False]
    assert "(1 copy)" in annex("whereis", "file1")


def test_a_node_that_is_down(annex_env: AnnexEnvironment, client: Path) -> None:
    """New content is stored by the others, and got from them; it is removed when the node is back."""

    def annex(*words: str, check: bool = True) -> int:
        return annex_env.run("git", "annex", *words, cwd=client, check=check).returncode

    (client / "file").write_text("content")
    annex("add", "file")
    attic = annex_env.home / "attic"
    attic.rename(annex_env.home / "away")
    annex("copy", "--to", "cluster", "file")
    annex("drop", "file")
    annex("get", "file")
    assert (client / "file").read_text() == "content"
    assert annex("drop", "--from", "cluster", "file", check=False) != 0, "the node that is down may have it"
    (annex_env.home / "away").rename(attic)
    annex("drop", "--from", "cluster", "file")


def test_git_annex_testremote(annex_env: AnnexEnvironment, client: Path) -> None:
    done = annex_env.run("git", "annex", "testremote", "cluster", cwd=client, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    match = re.search(r"All (\d+) tests passed", done.stdout)
    assert match is not None, done.stdout[-2000:]
    assert int(match[1]) == 573


@pytest.mark.parametrize("node", ["attic", "shelf"])
@pytest.mark.parametrize("size", [1000, 300_000])
def test_a_rotten_copy(annex_env: AnnexEnvironment, client: Path, gateway: Path, node: str, size: int) -> None:
    """git-annex reports content that does not match its key, and asks again: it gets the content from another node."""
    content = b"rotten in one place of three" * (size // 28)
    (client / "file").write_bytes(content)
    annex_env.run("git", "annex", "add", "file", cwd=client)
    annex_env.run("git", "annex", "copy", "--to", "cluster", "file", cwd=client)
    annex_env.run("git", "annex", "drop", "file", cwd=client)
    annex_env.run("p2pannex", "cluster", "set", gateway, node, "--cost", "1")
    (copy,) = (path for path in (annex_env.home / node / "annex" / "objects").rglob("SHA256E-*") if path.is_file())
    copy.chmod(0o644)
    copy.write_bytes(b"ROT!" + content[4:])
    copy.chmod(0o444)
    annex_env.run("git", "annex", "get", "file", cwd=client)
    assert (client / "file").read_bytes() == content
    # A put of the good content repairs the copy, and the rotten one is out of the way.
    annex_env.run("p2pannex", "put", annex_env.home / node, "--key", copy.name, "file", cwd=client)
    assert copy.read_bytes() == content
    assert (annex_env.home / node / "annex" / "bad" / copy.name).read_bytes()[:4] == b"ROT!"
    annex_env.run("git", "annex", "fsck", "--from", "cluster", cwd=client)


def test_too_few_copies(annex_env: AnnexEnvironment, client: Path, gateway: Path) -> None:
    """git-annex shows that the transfer failed, and the server's reason; it logs nothing and keeps its copy, however
    often it tries, until enough nodes have the content. Only those that lack it get it then."""

    def annex(*words: str, code: int = 0) -> str:
        done = annex_env.run("git", "annex", *words, cwd=client, check=False)
        assert (done.returncode != 0) is bool(code), done.stdout + done.stderr
        return done.stdout + done.stderr

    annex_env.run("p2pannex", "cluster", "set", gateway, "--copies", "2")
    for name in ("shelf", "cellar"):
        (annex_env.home / name).rename(annex_env.home / f"{name}.away")
    (client / "file").write_text("content")
    annex("add", ".")
    printed = annex("move", "--to", "cluster", "file", code=1)
    assert "failed" in printed
    assert "1 node has the content, but the cluster requires 2 copies; " in printed
    assert (client / "file").read_text() == "content", "it was not dropped"
    assert "(1 copy)" in annex("whereis", "file"), "the cluster is not logged as a copy"
    (stored,) = (path for path in (annex_env.home / "attic").rglob("SHA256E-*") if path.is_file())

    annex("move", "--to", "cluster", "file", code=1)
    assert (client / "file").exists()

    inode = stored.stat().st_ino
    (annex_env.home / "shelf.away").rename(annex_env.home / "shelf")
    annex("move", "--to", "cluster", "file")
    assert not (client / "file").exists()
    assert "(1 copy)" in annex("whereis", "file")
    assert stored.stat().st_ino == inode
    assert any(path.is_file() for path in (annex_env.home / "shelf").rglob("SHA256E-*"))
    annex("get", "file")
    assert (client / "file").read_text() == "content"
