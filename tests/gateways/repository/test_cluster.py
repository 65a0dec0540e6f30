"""Clusters and proxied repositories of a gateway repository, made with git alone; nodes are stores on this machine."""

from __future__ import annotations

import pytest

from p2pannex.cli.shell.command_line import CommandRefused
from p2pannex.cli.shell.main import behind_gateway
from p2pannex.cluster.presence import NotAllAsked
from p2pannex.errors import RemoteError
from p2pannex.gateways.health_files import HealthFiles
from p2pannex.gateways.repository.cluster import NotAGatewayRepository
from p2pannex.gateways.repository.wanted import Undecidable
from p2pannex.git_annex.branch.blocking import BlockingBranch
from p2pannex.git_annex.branch.sizes import repository_sizes
from p2pannex.git_annex.config import read_annex_config
from p2pannex.git_annex.logs.names import location_log_path
from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.samples import fetch, key_of, store
from tests.gateways.repository.gateway import FAM, KEY, OWN, Gateway
from tests.git_annex.branch.repositories import push
from tests.support.waiting import until


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


async def test_a_failure_is_known_to_other_processes(gateway: Gateway) -> None:
    """To one that runs already, and to one that starts later."""
    health = gateway.path / ".git" / "annex" / "p2pannex" / "health"
    async with gateway.cluster() as first, gateway.cluster() as running:
        assert not health.exists(), "nothing is written while all is well"
        (a,) = [node for node in first.nodes if node.name == "a"]
        health.mkdir(parents=True)
        with HealthFiles(str(health), lambda path: None).of(a.uuid).claim():  # another process probes it, for ever
            a.failed("it hung")
            async with gateway.cluster() as later:
                assert [node.name for node in later.nodes if node.suspended] == ["a"]
                assert not (await later.remove(KEY)).ok
            await until(lambda: any(node.suspended for node in running.nodes))


LARGE = (b"x" * 100 + b"\n") * 20


async def test_a_log_that_only_uploads_need_may_be_too_large(gateway: Gateway) -> None:
    gateway.config("p2pannex.maxLogSize", "1k")
    async with gateway.cluster() as cluster:
        await store(cluster, b"content")
    push(gateway.path / ".git", b"preferred-content.log", LARGE)
    async with gateway.cluster() as cluster:
        assert await cluster.check_present(KEY)
        assert await fetch(cluster, KEY) == b"content"
        with pytest.raises(Undecidable, match=r"preferred-content\.log .* more than 1000; .*maxLogSize"):
            await cluster.put(key_of(b"other"))
        assert (await cluster.remove(KEY)).ok
        push(gateway.path / ".git", b"preferred-content.log", b"")
        await cluster.reload()
        await store(cluster, b"other")


async def test_a_location_log_that_is_too_large_refuses_only_its_key(gateway: Gateway) -> None:
    gateway.config("p2pannex.maxLogSize", "1k")
    async with gateway.cluster() as cluster:
        await store(cluster, b"content")
        await store(cluster, b"other")
    push(gateway.path / ".git", location_log_path(KEY), LARGE)
    async with gateway.cluster() as cluster:
        assert await cluster.check_present(KEY)
        assert await fetch(cluster, KEY) == b"content"
        await store(cluster, b"third")


@pytest.mark.parametrize("name", ["cluster.log", "proxy.log"])
async def test_what_names_the_nodes_must_be_readable(gateway: Gateway, name: str) -> None:
    async with gateway.cluster() as cluster:
        await store(cluster, b"content")
    gateway.config("p2pannex.maxLogSize", "1k")
    push(gateway.path / ".git", name.encode(), LARGE)
    with pytest.raises(RemoteError, match=f"{name} in the git-annex branch has more than 1000 bytes"):
        gateway.open()
    with pytest.raises(CommandRefused, match=f"{name} in the git-annex branch has more than 1000 bytes"):
        behind_gateway(read_annex_config(gateway.path), FAM, "client")


async def test_a_removal_that_one_node_refuses_is_logged_for_the_others(gateway: Gateway) -> None:
    async with gateway.open() as cluster:
        await store(cluster, b"content")
        async with DirectoryStore(gateway.nodes / "a") as node, await node.lock(KEY):
            assert not (await cluster.remove(KEY)).ok
    assert gateway.locations(KEY) == {"a"}
    assert [gateway.has(name) for name in "ab"] == [True, False]


async def test_nothing_is_sent_to_the_nodes_if_it_cannot_be_logged(gateway: Gateway) -> None:
    async with gateway.open() as cluster:
        await store(cluster, b"content")
    journal = gateway.path / ".git" / "annex" / "journal"
    async with gateway.open() as cluster:
        journal.rmdir()
        journal.touch(0o444)
        with pytest.raises(RemoteError, match="journal"):
            await cluster.put(key_of(b"more"))
        with pytest.raises(RemoteError, match="journal"):
            await cluster.remove(KEY)
        journal.unlink()
        assert [gateway.has(name) for name in "ab"] == [True, True]


async def test_a_repository_that_is_no_gateway_of_the_cluster_any_more(gateway: Gateway) -> None:
    async with gateway.cluster() as cluster:
        gateway.config("annex.cluster.fam")
        with pytest.raises(NotAGatewayRepository, match=FAM):
            await cluster.reload()


def behind(gateway: Gateway) -> tuple[str, str, str]:
    """Make B a gateway with two nodes of the cluster behind it. The UUIDs of B and of the two."""
    other, *far = (f"f{n}f0f0f0-1111-4222-8333-444444444444" for n in range(3))
    gateway.config("remote.B.url", "ssh://host.invalid/srv/annex")
    gateway.config("remote.B.annex-uuid", other)
    gateway.config("remote.B.annex-cluster-gateway", FAM)
    listed = " ".join(f"{uuid}:{name}" for name, uuid in gateway.uuids.items())
    gateway.write(
        "proxy.log",
        f"2s {OWN} {FAM}:fam {listed} {far[0]}:B-x {far[1]}:B-y",
        f"2s {other} {FAM}:fam {far[0]}:x {far[1]}:y",
    )
    gateway.write("cluster.log", f"2s {FAM} {' '.join(gateway.uuids.values())} {far[0]} {far[1]}")
    return other, far[0], far[1]


async def test_nodes_behind_a_gateway_are_known_to_be(gateway: Gateway) -> None:
    """A request that came through this gateway goes to none of them."""
    other, x, y = behind(gateway)
    async with gateway.cluster() as cluster:
        assert {node.uuid: node.via for node in cluster.nodes if node.via} == {x: {other}, y: {other}}


async def test_content_goes_to_a_whole_gateway_only_if_all_behind_it_want_it(gateway: Gateway) -> None:
    _, x, y = behind(gateway)
    async with gateway.cluster() as cluster:
        chosen = {node.uuid for node in await cluster.choose(KEY, None, cluster.nodes)}
        assert chosen == {FAM, *gateway.uuids.values()}, "one upload for both"
        gateway.write("preferred-content.log", f"{x} include=*.x timestamp=1s")
        await cluster.reload()
        chosen = {node.uuid for node in await cluster.choose(KEY, None, cluster.nodes)}
        assert chosen == {y, *gateway.uuids.values()}


async def test_a_cluster_is_not_named_as_having_content(gateway: Gateway) -> None:
    """A gateway names it that got content for all nodes behind it."""
    async with gateway.cluster() as cluster:
        named = cluster._named(frozenset({FAM, gateway.uuids["a"]}))
        assert named == {gateway.uuids["a"]}
