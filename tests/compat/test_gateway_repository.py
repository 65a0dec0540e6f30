"""Clusters as ``git annex initcluster``, ``updatecluster`` and ``extendcluster`` make them, served by several programs.

Every repository is a real git-annex repository. What differs is which program serves it: git-annex-shell,
p2pannex-shell, or, of a node on the gateway's own machine, the gateway itself.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.compat.annex_environment import AnnexEnvironment, SshServer, program

pytestmark = pytest.mark.compat

OURS, THEIRS = "p2pannex-shell", "git-annex-shell"


STAND_IN = """#!/bin/sh
while [ $# -gt 1 ]; do
  case "$1" in -p|-l|-o|-F|-S) shift 2;; -*) shift;; localhost) shift; break;; *) exit 255;; esac
done
echo "$*" >> "$SSH_LOG"
exec sh -c "$*"
"""
"""Instead of ssh, where logging in to sshd would only take time: runs the command here, and notes it. There is no other
host than localhost."""


class Family:
    """Repositories of one cluster, and the settings that are the same for all of them."""

    def __init__(self, environment: AnnexEnvironment, sshd: SshServer | None = None) -> None:
        self.environment = environment
        self.sshd = sshd
        self.home = environment.home
        self.ssh_log = self.home / "ssh-log"
        if sshd is not None:
            self.variables = {"GIT_SSH_COMMAND": f"ssh -F {sshd.config}"}
        else:
            stand_in = program(self.home / "ssh", STAND_IN)
            self.variables = {
                "GIT_ANNEX_USE_GIT_SSH": "1",
                "GIT_SSH": str(stand_in),
                "GIT_SSH_VARIANT": "ssh",
                "SSH_LOG": str(self.ssh_log),
            }

    def run(self, where: Path, *command: str, check: bool = True) -> str:
        return self.environment.run(*command, cwd=where, check=check, variables=self.variables).stdout

    def annex(self, where: Path, *words: str) -> str:
        return self.run(where, "git", "annex", *words)

    def repository(self, name: str, origin: Path | None = None) -> Path:
        """A new repository; where there is an origin, with its history."""
        path = self.home / name
        if origin is None:
            self.environment.repository(name)
            self.run(path, "git", "commit", "-q", "--allow-empty", "-m", "first")
        else:
            self.run(self.home, "git", "clone", "-q", str(origin), name)
            self.run(path, "git", "remote", "remove", "origin")
            self.annex(path, "init", "-q", name)
        return path

    def remote(self, where: Path, other: Path, shell: str | None) -> None:
        """Make a repository a remote of another: on the same machine, or over ssh with that shell."""
        name = other.name
        url = f"ssh://localhost{other}" if self.sshd is None else self.sshd.url(other)
        self.run(where, "git", "remote", "add", name, str(other) if shell is None else url)
        if shell is not None:
            self.run(where, "git", "config", f"remote.{name}.annex-shell", shell)
        if shell is not None and self.sshd is not None:
            self.run(where, "git", "config", f"remote.{name}.annex-ssh-options", f"-F {self.sshd.config}")
        self.run(where, "git", "fetch", "-q", name)

    def node(self, gateway: Path, name: str, shell: str | None) -> Path:
        """A new node of the cluster, as ``updatecluster`` will find it."""
        node = self.repository(name, gateway)
        self.remote(gateway, node, shell)
        self.run(gateway, "git", "config", f"remote.{name}.annex-cluster-node", "fam")
        return node

    def client(self, gateway: Path, shell: str) -> Path:
        client = self.repository("client", gateway)
        self.remote(client, gateway, shell)
        for number in range(4):
            (client / f"file{number}").write_text(f"content {number}")
        self.annex(client, "add", "-q", ".")
        self.run(client, "git", "commit", "-q", "-m", "files")
        return client

    def holders(self, *names: str, content: str = "content 1") -> str:
        """The last letters of those repositories that have a file's content."""
        return "".join(
            name[-1]
            for name in names
            if any(
                path.is_file() and not path.is_symlink() and path.read_text() == content
                for path in (self.home / name / ".git" / "annex" / "objects").rglob("SHA256E-*")
            )
        )


@pytest.fixture
def family(annex_env: AnnexEnvironment) -> Family:
    return Family(annex_env)


def cluster_of_three(family: Family, shells: list[str | None]) -> Path:
    gateway = family.repository("gateway")
    family.annex(gateway, "initcluster", "fam")
    for number, shell in enumerate(shells):
        family.node(gateway, f"node{number}", shell)
    family.annex(gateway, "updatecluster")
    return gateway


def everyday_work(family: Family, client: Path, cluster: str, nodes: list[str]) -> None:
    """What people do with a cluster, and what whereis says right afterwards."""

    def copies(file: str) -> int:
        match = re.search(r"\((\d+) cop", family.run(client, "git", "annex", "whereis", file, check=False))
        return int(match[1]) if match else 0

    everywhere = "".join(name[-1] for name in nodes)
    family.annex(client, "copy", "--to", cluster, ".")
    assert family.holders(*nodes) == everywhere
    assert copies("file1") == len(nodes) + 1
    family.annex(client, "fsck", "--from", cluster)
    family.annex(client, "drop", ".")
    assert not (client / "file1").exists()
    family.annex(client, "get", ".")
    assert (client / "file1").read_text() == "content 1"
    assert copies("file1") == len(nodes) + 1
    family.annex(client, "drop", "--from", cluster, "file1")
    assert family.holders(*nodes) == ""
    assert copies("file1") == 1
    family.annex(client, "move", "--to", cluster, "file1")
    assert family.holders(*nodes) == everywhere
    assert copies("file1") == len(nodes)
    family.annex(client, "move", "--from", cluster, "file1")
    assert family.holders(*nodes) == ""
    assert copies("file1") == 1
    # One node alone, through the gateway.
    node = cluster.replace("fam", nodes[0])
    family.annex(client, "copy", "--to", node, "file1")
    assert family.holders(*nodes) == nodes[0][-1]
    family.annex(client, "drop", "--from", node, "file1")
    assert family.holders(*nodes) == ""


def test_everyday_work_over_ssh(annex_env: AnnexEnvironment, sshd: SshServer) -> None:
    """Our gateway, with a node on its machine, one of git-annex's and one of ours behind ssh."""
    family = Family(annex_env, sshd)
    gateway = cluster_of_three(family, [None, THEIRS, OURS])
    everyday_work(family, family.client(gateway, OURS), "gateway-fam", ["node0", "node1", "node2"])


@pytest.mark.parametrize(
    ("gateway_shell", "node_shells"),
    [
        pytest.param(OURS, [THEIRS, THEIRS, THEIRS], id="our gateway, their nodes"),
        pytest.param(THEIRS, [OURS, OURS, OURS], id="their gateway, our nodes"),
    ],
)
def test_everyday_work_with_either_make(family: Family, gateway_shell: str, node_shells: list[str | None]) -> None:
    gateway = cluster_of_three(family, node_shells)
    client = family.client(gateway, gateway_shell)
    everyday_work(family, client, "gateway-fam", ["node0", "node1", "node2"])
    # The gateway's branch knows as much as the client's.
    family.annex(client, "copy", "--to", "gateway-fam", "file2")
    key = family.annex(client, "lookupkey", "file2").strip()
    known = family.annex(gateway, "whereis", f"--key={key}")
    assert all(f"[node{number}]" in known for number in range(3)), known


def test_a_special_remote_as_a_node(family: Family) -> None:
    """What git-annex's gateway stored with rclone, ours reads and removes, and the other way round."""
    gateway = cluster_of_three(family, [None])
    family.annex(
        gateway, "initremote", "cloud", "type=rclone", "encryption=none", "rcloneremotename=:local:",
        f"rcloneprefix={family.home}/the cloud", "rclonelayout=nodir",
    )  # fmt: skip
    family.run(gateway, "git", "config", "remote.cloud.annex-cluster-node", "fam")
    family.annex(gateway, "updatecluster")
    client = family.client(gateway, THEIRS)

    def in_the_cloud() -> set[str]:
        return {path.read_text() for path in (family.home / "the cloud").iterdir()}

    said = family.annex(client, "verifyremote", "gateway-cloud")  # which git-annex asks for before it writes to one
    (confirmation,) = re.findall(r"--safe (\d+)", said)
    family.annex(client, "verifyremote", "gateway-cloud", "--safe", confirmation)
    for number, (stores, reads) in enumerate(((THEIRS, OURS), (OURS, THEIRS)), 1):
        file = f"file{number}"
        family.run(client, "git", "config", "remote.gateway.annex-shell", stores)
        family.annex(client, "copy", "--to", "gateway-fam", file)
        assert in_the_cloud() == {f"content {number}"}
        assert "(3 copies)" in family.annex(client, "whereis", file)
        family.annex(client, "drop", "--from", "gateway-node0", file)
        family.annex(client, "drop", "--force", file)
        family.run(client, "git", "config", "remote.gateway.annex-shell", reads)
        family.annex(client, "get", "--from", "gateway-fam", file)
        assert (client / file).read_text() == f"content {number}"
        family.annex(client, "drop", "--from", "gateway-fam", file)
        assert in_the_cloud() == set()


def test_a_node_that_cannot_be_reached(family: Family) -> None:
    """The other nodes do the work, and content that the unreachable node may have is not reported as gone."""
    gateway = cluster_of_three(family, [None, THEIRS, OURS])
    client = family.client(gateway, OURS)
    family.run(gateway, "git", "config", "remote.node1.url", "ssh://nowhere/")
    family.annex(client, "copy", "--to", "gateway-fam", "file1")
    assert family.holders("node0", "node1", "node2") == "02"
    assert "(3 copies)" in family.annex(client, "whereis", "file1")
    family.annex(client, "drop", "file1")
    family.annex(client, "get", "file1")
    done = family.environment.run(
        "git", "annex", "drop", "--from", "gateway-fam", "file1", cwd=client, check=False, variables=family.variables
    )
    assert done.returncode != 0
    assert family.holders("node0", "node1", "node2") == ""
    assert "(1 copy)" in family.annex(client, "whereis", "file1")


def test_git_annex_testremote(family: Family) -> None:
    gateway = cluster_of_three(family, [None, THEIRS, OURS])
    client = family.client(gateway, OURS)
    said = family.annex(client, "testremote", "gateway-fam")
    match = re.search(r"All (\d+) tests passed", said)
    assert match is not None, said[-2000:]
    assert int(match[1]) == 573


NOTING = """#!/bin/sh
tee -a "$HOME/asked-$(basename "$2")" | {shell} "$@"
"""
"""Serves a repository, and keeps what it was asked."""


def two_gateways(family: Family, shells: tuple[str, str]) -> tuple[Path, Path]:
    """Two gateways of one cluster, two nodes each, as git-annex's documentation of clusters has them set up. `shells`
    are what serves the first and the second, to each other."""
    ours, theirs = (
        str(program(family.home / f"noting-{shell}", NOTING.format(shell=shell))) for shell in (OURS, THEIRS)
    )
    one = family.repository("one")
    two = family.repository("two", one)
    family.remote(two, one, shells[0])
    family.annex(one, "initcluster", "fam")
    for name, shell in (("one-a", ours), ("one-b", theirs)):
        family.node(one, name, shell)
    family.annex(one, "updatecluster")
    family.run(two, "git", "fetch", "-q", "one")
    family.annex(two, "extendcluster", "one", "fam")
    for name, shell in (("two-c", ours), ("two-d", theirs)):
        family.node(two, name, shell)
    family.annex(two, "updatecluster")
    family.remote(one, two, shells[1])
    family.annex(one, "extendcluster", "two", "fam")
    family.annex(one, "updatecluster")
    family.run(two, "git", "fetch", "-q", "one")
    return one, two


@pytest.mark.parametrize(
    ("shells", "which"),
    [
        pytest.param((OURS, THEIRS), 0, id="through ours to theirs"),
        pytest.param((OURS, THEIRS), 1, id="through theirs to ours"),
        pytest.param((OURS, OURS), 0, id="ours both"),
    ],
)
def test_two_gateways_of_one_cluster(family: Family, shells: tuple[str, str], which: int) -> None:
    gateways = two_gateways(family, shells)
    nodes = ["one-a", "one-b", "two-c", "two-d"]
    client = family.client(gateways[which], shells[which])
    cluster = f"{gateways[which].name}-fam"
    asked = [family.home / f"asked-{name}" for name in nodes]

    def counted(verb: str) -> list[int]:
        return [len(re.findall(f"^{verb}", path.read_text(errors="replace"), re.MULTILINE)) for path in asked]

    family.annex(client, "copy", "--to", cluster, "file1")
    assert family.holders(*nodes) == "abcd"
    assert counted("PUT") == [1, 1, 1, 1]
    whereis = family.annex(client, "whereis", "file1")
    assert "(5 copies)" in whereis
    assert not any(family.environment.uuid(gateway) in whereis for gateway in gateways)
    family.annex(client, "drop", "file1")
    family.annex(client, "get", "file1")
    assert (client / "file1").read_text() == "content 1"
    family.annex(client, "move", "--to", cluster, "file2")
    assert "(4 copies)" in family.annex(client, "whereis", "file2")
    family.annex(client, "drop", "--from", cluster, "file1")
    assert family.holders(*nodes) == ""
    assert counted("REMOVE") == [1, 1, 1, 1]
    assert "(1 copy)" in family.annex(client, "whereis", "file1")
    # A node behind the other gateway, alone.
    far = nodes[2 - 2 * which]
    family.annex(client, "copy", "--to", f"{gateways[which].name}-{gateways[1 - which].name}-{far}", "file1")
    assert family.holders(*nodes) == far[-1]


def test_what_may_be_asked_for(family: Family) -> None:
    """Either shell gives the same repositories, whatever is configured. A cluster that is not configured at the gateway
    is served by git-annex as one without nodes; p2pannex-shell refuses it."""
    gateway = cluster_of_three(family, [None, None, None])
    family.run(gateway, "git", "config", "remote.node2.annex-proxy", "true")
    cluster = family.run(gateway, "git", "config", "annex.cluster.fam").strip()
    uuids = [cluster, *(family.environment.uuid(family.home / f"node{number}") for number in range(3)), "unknown"]

    def given(shell: str) -> str:
        """Of each uuid: y where it is served."""
        said = [
            family.run(gateway, shell, "p2pstdio", str(gateway), "me", "--uuid", uuid, check=False) for uuid in uuids
        ]
        return "".join(
            "y" if answer == f"AUTH-SUCCESS {uuid}\n" else "n" for answer, uuid in zip(said, uuids, strict=True)
        )

    def configured(*words: str) -> tuple[str, str]:
        family.run(gateway, "git", "config", *words)
        return given(OURS), given(THEIRS)

    assert (given(OURS), given(THEIRS)) == ("yyyyn", "yyyyn")
    assert configured("--unset", "remote.node0.annex-cluster-node") == ("ynyyn", "ynyyn")
    assert configured("--unset", "annex.cluster.fam") == ("nnnyn", "ynnyn")


def test_the_commands_of_the_document_as_they_are_written(family: Family) -> None:
    text = (Path(__file__).parent.parent.parent / "docs" / "how-to" / "serve-a-git-annex-cluster.md").read_text()
    section = text[text.index("## Put p2pannex in front of") :]
    use, set_up = re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)[:2]
    gateway = family.repository("gateway")
    for name in ("node1", "node2"):
        family.repository(name, gateway)
    family.run(family.home, "sh", "-euc", set_up.replace("/srv", str(family.home)).replace("//server", "//localhost"))
    client = family.client(gateway, THEIRS)
    family.run(client, "git", "remote", "rename", "gateway", "bigserver")
    said = family.run(client, "sh", "-euc", use)
    assert said.count("(3 copies)") == 4
    assert family.holders("node1", "node2") == "12"
    assert any("p2pannex-shell" in line and "gateway" in line for line in family.ssh_log.read_text().splitlines())
