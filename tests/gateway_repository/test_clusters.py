"""Clusters and proxied repositories of a gateway repository, made with git alone; nodes are stores on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from p2pannex.cluster.cluster import NotAllAsked
from p2pannex.errors import RemoteError
from p2pannex.gateways.repository import open_served
from p2pannex.gateways.repository.cluster import NotAGatewayRepository, RepositoryCluster
from p2pannex.gateways.repository.nodes import cost_of
from p2pannex.gateways.repository.wanted import Undecidable
from p2pannex.git_annex.branch.branch import BlockingBranch
from p2pannex.git_annex.branch.sizes import repository_sizes
from p2pannex.git_annex.remotes import GitRemote
from p2pannex.keys.key import Key
from p2pannex.service import Service
from p2pannex.stores.directory import DirectoryStore
from p2pannex.system.disk_work import Batched
from p2pannex.testing.samples import fetch, key_of, store

FAM = "ac5c11f3-d741-8fa9-adac-bb580e9347d0"
OWN = "0e0e0e0e-1111-4222-8333-444444444444"
KEY = key_of(b"content")


class Gateway:
    """A gateway repository, and what is written to its git config and its branch."""

    def __init__(self, path: Path) -> None:
        self.path = path / "gateway"
        self.nodes = path
        self.uuids: dict[str, str] = {}
        subprocess.run(["git", "init", "-q", self.path], check=True)
        for setting, value in {
            "annex.uuid": OWN,
            "annex.version": "10",
            "user.name": "me",
            "user.email": "m@l",
        }.items():
            self.config(setting, value)
        self.config("annex.cluster.fam", FAM)

    def config(self, setting: str, *values: str) -> None:
        """Give a setting a value, or take it away."""
        section, _, rest = setting.partition(".")
        name, _, variable = rest.rpartition(".")
        if values:
            header = f'[{section} "{name}"]' if name else f"[{section}]"
            with open(self.path / ".git" / "config", "a") as file:
                file.write("".join(f"{header}\n\t{variable} = {value}\n" for value in values))
        else:
            subprocess.run(["git", "-C", self.path, "config", "--unset", setting], check=True)

    def write(self, log: str, *lines: str) -> None:
        branch = BlockingBranch(self.path / ".git")
        branch.change(log.encode(), lambda old: "".join(line + "\n" for line in lines).encode())
        branch.close()

    def verified(self, *lines: str) -> None:
        """Special remotes whose configuration was confirmed."""
        (self.path / ".git" / "annex" / "verified-remote.log").write_text("".join(line + "\n" for line in lines))
        for line in lines:
            (name,) = [name for name, uuid in self.uuids.items() if line.startswith(uuid)]
            self.config(f"remote.{name}.annex-verified", "verified")

    def node(self, name: str, *, there: bool = True) -> str:
        """Another node of the cluster, as updatecluster leaves it."""
        uuid = f"{len(self.uuids):08x}-2222-4222-8333-444444444444"
        if there:
            uuid = DirectoryStore.create(self.nodes / name).uuid
        self.uuids[name] = uuid
        self.config(f"remote.{name}.url", str(self.nodes / name))
        self.config(f"remote.{name}.annex-uuid", uuid)
        self.config(f"remote.{name}.annex-cluster-node", "fam")
        listed = " ".join(f"{uuid}:{name}" for name, uuid in self.uuids.items())
        self.write("proxy.log", f"1s {OWN} {FAM}:fam {listed}")
        self.write("cluster.log", f"1s {FAM} {' '.join(self.uuids.values())}")
        return uuid

    def open(self, uuid: str = FAM) -> Service:
        return open_served(self.path, uuid, disk_work=Batched())

    def cluster(self) -> RepositoryCluster:
        service = self.open()
        assert isinstance(service, RepositoryCluster)
        return service

    def locations(self, key: Key) -> set[str]:
        """Who has the content, as far as was committed."""
        branch = BlockingBranch(self.path / ".git")
        assert not branch.journal.names()
        uuids = branch.locations(key)
        branch.close()
        return {name for name, uuid in self.uuids.items() if uuid in uuids}

    def has(self, name: str, key: Key = KEY) -> bool:
        return DirectoryStore(self.nodes / name).present(key)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - of files, or of what is done by and by
            await trio.sleep(0.01)


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    made = Gateway(tmp_path)
    for name in "ab":
        made.node(name)
    return made


async def test_what_is_stored_and_removed_is_in_the_log_of_the_nodes(gateway: Gateway) -> None:
    async with gateway.open() as cluster:
        await store(cluster, b"content")
        assert [gateway.has(name) for name in "ab"] == [True, True]
        assert await fetch(cluster, KEY) == b"content"
    assert gateway.locations(KEY) == {"a", "b"}
    async with gateway.open() as cluster:
        removal = await cluster.remove(KEY)
        assert removal.ok
        assert removal.uuids == set(gateway.uuids.values())
    assert gateway.locations(KEY) == set()


async def test_the_log_is_committed_while_a_client_stays(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pannex.git_annex.branch.idle_commits.IDLE", 0.01)
    async with gateway.open() as cluster:
        await store(cluster, b"content")
        await until(lambda: not list((gateway.path / ".git" / "annex" / "journal").iterdir()))
        assert gateway.locations(KEY) == {"a", "b"}


async def test_content_that_is_there_already_is_logged_too(gateway: Gateway) -> None:
    async with DirectoryStore(gateway.nodes / "a") as node:
        await store(node, b"content")
    async with DirectoryStore(gateway.nodes / "b") as node:
        await store(node, b"content")
    async with gateway.open() as cluster:
        await store(cluster, b"content")
    assert gateway.locations(KEY) == {"a", "b"}


async def test_one_repository_through_the_gateway(gateway: Gateway) -> None:
    async with gateway.open(gateway.uuids["b"]) as service:
        assert service.uuid == gateway.uuids["b"]
        await store(service, b"content")
        assert [gateway.has(name) for name in "ab"] == [False, True]
        assert await service.check_present(KEY)
        assert await fetch(service, KEY) == b"content"
    assert gateway.locations(KEY) == {"b"}
    async with gateway.open(gateway.uuids["b"]) as service:
        assert (await service.remove(KEY, before=await service.timestamp() + 10)).ok
    assert gateway.locations(KEY) == set()


async def test_a_repository_that_was_asked_for_in_a_circle(gateway: Gateway) -> None:
    """Behind a gateway that the request came through already."""
    far, other = "f0f0f0f0-1111-4222-8333-444444444444", "0b0b0b0b-1111-4222-8333-444444444444"
    gateway.config("remote.B.url", "ssh://host.invalid/srv/annex")
    gateway.config("remote.B.annex-uuid", other)
    gateway.config("remote.B.annex-cluster-gateway", FAM)
    gateway.write("proxy.log", f"2s {OWN} {FAM}:fam {far}:B-far", f"2s {other} {FAM}:fam {far}:far")
    async with gateway.open(far) as service:
        view = service.bypassing(frozenset({other}))
        with pytest.raises(RemoteError, match="leads back"):
            await view.check_present(KEY)
        await view.aclose()


def test_what_is_not_served(gateway: Gateway) -> None:
    with pytest.raises(RemoteError, match="expected repository UUID nobody but found UUID"):
        gateway.open("nobody")
    gateway.config("annex.cluster.fam")
    with pytest.raises(RemoteError, match="not configured to be a gateway"):
        gateway.open()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configuration is looked at all the time."""
    monkeypatch.setattr("p2pannex.gateways.repository.cluster.REPOSITORY_INTERVAL", 0.01)


@pytest.mark.usefixtures("often")
async def test_nodes_come_and_go_without_a_restart(gateway: Gateway) -> None:
    async with gateway.cluster() as cluster:

        def names() -> set[str]:
            return {node.name for node in cluster.nodes}

        assert names() == {"a", "b"}
        gateway.node("c")
        await until(lambda: names() == {"a", "b", "c"})
        gateway.config("remote.a.annex-cluster-node")
        await until(lambda: names() == {"b", "c"})
        await store(cluster, b"content")
        assert [gateway.has(name) for name in "abc"] == [False, True, True]
        # What makes no sense at this moment changes nothing.
        gateway.config("annex.cluster.fam")
        with pytest.raises(NotAGatewayRepository):
            await cluster.reload()
        await trio.sleep(0.1)
        assert names() == {"b", "c"}


async def test_a_node_that_is_not_there_is_used_when_it_is(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    gateway.node("c")
    (gateway.nodes / "c").rename(gateway.nodes / "away")
    async with gateway.cluster() as cluster:
        assert len(cluster.problems) == 1
        assert "node c" in cluster.problems[0]
        assert "node c" in caplog.text
        assert not await cluster.check_present(KEY)  # new content can be sent
        await store(cluster, b"content")
        assert [gateway.has(name) for name in "ab"] == [True, True]
        removal = await cluster.remove(KEY)
        assert not removal.ok, "nobody knows whether c has it"
        assert removal.uuids == {gateway.uuids["a"], gateway.uuids["b"]}
        (gateway.nodes / "away").rename(gateway.nodes / "c")
        await cluster.reload()
        assert not list(cluster.problems)
        await store(cluster, b"content")
        assert gateway.has("c")
    assert gateway.locations(KEY) == {"a", "b", "c"}


async def test_content_that_only_a_silent_node_is_known_to_have(gateway: Gateway) -> None:
    async with gateway.open(gateway.uuids["a"]) as node:
        await store(node, b"content")
    (gateway.nodes / "a").rename(gateway.nodes / "away")
    async with gateway.open() as cluster:
        with pytest.raises(NotAllAsked):
            await cluster.check_present(KEY)
        assert not await cluster.check_present(key_of(b"other"))


async def test_who_is_known_to_have_the_content_is_asked_first(gateway: Gateway) -> None:
    """Here the other, which is the cheaper, could not even be connected to."""
    far = "f0f0f0f0-1111-4222-8333-444444444444"
    gateway.node("far", there=False)
    gateway.uuids["far"] = far
    gateway.config("remote.far.url", "ssh://host.invalid/srv/annex")
    gateway.config("remote.far.annex-uuid", far)
    gateway.config("remote.far.annex-cost", "1")
    gateway.node("c")
    async with gateway.cluster() as cluster:
        nodes = sorted(cluster.nodes, key=lambda node: (node.cost, node.name))
        assert nodes[0].name == "far"
        assert await cluster.order(KEY, nodes) == nodes
        async with gateway.open(gateway.uuids["c"]) as service:
            await store(service, b"content")
        assert [node.name for node in await cluster.order(KEY, nodes)] == ["c", "far", "a", "b"]


async def test_a_special_remote_is_a_node_that_answers_with_what_is_wrong(gateway: Gateway) -> None:
    uuid = gateway.node("s3", there=False)
    gateway.config("remote.s3.url")
    gateway.verified(f"{uuid} type=S3 encryption=none name=s3 timestamp=1s")
    async with gateway.cluster() as cluster:
        assert any("the special remote s3 has type=S3" in problem for problem in cluster.problems)
        await store(cluster, b"content")
    assert gateway.locations(KEY) == {"a", "b"}
    async with gateway.open(uuid) as service:
        with pytest.raises(RemoteError, match="special remote s3"):
            await service.check_present(KEY)


async def test_a_special_remote_that_only_the_branch_knows_is_not_run(gateway: Gateway) -> None:
    """Anybody who can push can write there."""
    uuid = gateway.node("cloud", there=False)
    gateway.config("remote.cloud.url")
    described = f"{uuid} type=external externaltype=plain encryption=none name=cloud timestamp=1s"
    gateway.write("remote.log", described)
    async with gateway.cluster() as cluster:
        assert any("git annex verifyremote cloud" in problem for problem in cluster.problems)
    gateway.verified(described)
    gateway.config("remote.cloud.annex-verified")
    async with gateway.cluster() as cluster:
        assert any("git annex verifyremote cloud" in problem for problem in cluster.problems)


async def test_special_remotes_are_nodes(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Path(__file__).parent.parent / "stores" / "special_remotes" / "plain.py"
    (gateway.nodes / "git-annex-remote-plain").write_text(f'#!/bin/sh\nexec {sys.executable} {program} "$@"\n')
    (gateway.nodes / "git-annex-remote-plain").chmod(0o755)
    monkeypatch.setenv("PATH", f"{gateway.nodes}{os.pathsep}{os.environ['PATH']}")
    for name in ("cloud", "sky"):
        gateway.node(name, there=False)
        gateway.config(f"remote.{name}.url")
    gateway.verified(
        *(
            f"{gateway.uuids[name]} directory={gateway.nodes}/my&32;{name} encryption=none externaltype=plain "
            f"name={name} type=external timestamp=1s"
            for name in ("cloud", "sky")
        ),
    )

    def stored(name: str) -> list[bytes]:
        return [path.read_bytes() for path in (gateway.nodes / f"my {name}").iterdir()]

    async with gateway.cluster() as cluster:
        assert not list(cluster.problems)
        await store(cluster, b"content")
        assert stored("cloud") == stored("sky") == [b"content"]
        assert (await cluster.remove(KEY)).ok
    assert gateway.locations(KEY) == set()
    async with gateway.open(gateway.uuids["sky"]) as service:
        await store(service, b"content")
        assert await fetch(service, KEY) == b"content"
    assert gateway.locations(KEY) == {"sky"}
    assert stored("cloud") == []


async def test_where_content_goes_is_what_the_branch_says_at_that_moment(gateway: Gateway) -> None:
    gateway.write("preferred-content.log", f"{gateway.uuids['a']} include=*.x timestamp=1s")
    async with gateway.cluster() as cluster:
        await store(cluster, b"content")
        assert [gateway.has(name) for name in "ab"] == [False, True]
        gateway.write("preferred-content.log", f"{gateway.uuids['a']} not copies=1 timestamp=2s")
        await cluster.reload()
        await store(cluster, b"other")
        await cluster.remove(key_of(b"other"))
        assert gateway.has("b")
        async with DirectoryStore(gateway.nodes / "b") as node:
            assert (await node.remove(KEY)).ok
        await store(cluster, b"content")  # b has one copy as far as is known here
        assert [gateway.has(name) for name in "ab"] == [False, True]


async def test_an_expression_that_cannot_be_judged(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    async with gateway.open() as cluster:
        await store(cluster, b"content")
    gateway.write("preferred-content.log", f"{gateway.uuids['b']} metadata=lang=en timestamp=1s")
    async with gateway.open() as cluster:
        assert "metadata=lang=en" in caplog.text
        with pytest.raises(Undecidable, match="what b wants"):
            await cluster.put(key_of(b"new"))
        assert await fetch(cluster, KEY) == b"content"
        assert (await cluster.remove(KEY)).ok


async def test_sizes_are_those_of_the_logs(gateway: Gateway) -> None:
    a, b = gateway.uuids.values()
    gateway.write("maxsize.log", f"1s {a} 10", f"1s {b} 1000")
    gateway.write("group.log", f"{a} g timestamp=1s", f"{b} g timestamp=1s")
    balanced = "fullybalanced=g:2"
    gateway.write("preferred-content.log", f"{a} {balanced} timestamp=1s", f"{b} {balanced} timestamp=1s")
    async with gateway.open() as cluster:
        await store(cluster, b"content")
        assert [gateway.has(name) for name in "ab"] == [True, True]
    branch = BlockingBranch(gateway.path / ".git")
    assert repository_sizes(branch.git, branch.journal) == {a: 7, b: 7}
    branch.log_location(key_of(b"four"), a, True)
    branch.log_location(KEY, b, False)
    assert repository_sizes(branch.git, branch.journal) == {a: 11}
    branch.close()
    async with gateway.open() as cluster:
        await store(cluster, b"12345")  # for which a has no room any more
    assert [gateway.has(name, key_of(b"12345")) for name in "ab"] == [False, True]


async def test_a_repository_that_is_no_gateway_any_more(gateway: Gateway) -> None:
    cluster = gateway.cluster()
    gateway.write("proxy.log", "2s nobody")
    with pytest.raises(NotAGatewayRepository):
        async with cluster:
            pass


async def test_costs() -> None:
    def remote(**settings: str) -> GitRemote:
        return GitRemote("r", {name.replace("_", "-"): value for name, value in settings.items()}, "/srv")

    assert await cost_of(remote(annex_cost_command="echo 12.5", annex_cost="7")) == 12.5
    assert await cost_of(remote(annex_cost_command="echo much", annex_cost="7")) == 7
    assert await cost_of(remote(annex_cost_command="echo 3; exit 1", annex_cost="7")) == 7
    assert await cost_of(remote()) == 100
