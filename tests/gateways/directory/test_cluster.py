"""Gateway directories: clusters without git, from their configuration on."""

from __future__ import annotations

import sys
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from p2pannex.cluster.presence import NotAllAsked
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.gateways.directory.cluster import (
    CONFIG_INTERVAL,
    GatewayConfig,
    GatewayDirectory,
    NodeConfig,
    NotAGateway,
    change,
    create,
)
from p2pannex.gateways.health_files import HealthFiles
from p2pannex.service import AlreadyHave, Stored
from p2pannex.stores.directory import DirectoryStore, NotAStore
from p2pannex.testing.samples import fetch, key_of, store
from p2pannex.urls import open_url
from tests.gateways.directory.gateway import gateway, has, node
from tests.support.waiting import until


def test_a_gateway_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(NotAStore, match="gateway of a cluster"):
        DirectoryStore(gateway(tmp_path))
    DirectoryStore.create(tmp_path / "store")
    with pytest.raises(RemoteError, match="already"):
        create(str(tmp_path / "store"), "family")


async def test_content_goes_to_every_node_and_is_gone_from_every_node(tmp_path: Path) -> None:
    path = gateway(tmp_path, "a", "b")
    key = key_of(b"content")
    async with await open_url(str(path)) as cluster:
        await store(cluster, b"content")
        assert [await has(tmp_path / name, key) for name in "ab"] == [True, True]
        assert await fetch(cluster, key) == b"content"
        assert (await cluster.remove(key)).ok
        assert [await has(tmp_path / name, key) for name in "ab"] == [False, False]


async def test_nodes_come_and_go_without_a_restart(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = gateway(tmp_path, "a")
    async with GatewayDirectory(path, open_url) as cluster:
        config = GatewayConfig.load(path)
        attrs.evolve(config, nodes={**config.nodes, "b": node(tmp_path, "b")}).save(path)
        await trio.sleep(2 * CONFIG_INTERVAL)
        assert {found.name for found in cluster.nodes} == {"a", "b"}
        (path / "p2pannex.toml").write_text("nonsense")
        await trio.sleep(2 * CONFIG_INTERVAL)
        assert {found.name for found in cluster.nodes} == {"a", "b"}
        attrs.evolve(config, nodes={}).save(path)
        await trio.sleep(2 * CONFIG_INTERVAL)
        assert not cluster.nodes


async def test_a_node_that_is_taken_away_ends_its_transfers_first(tmp_path: Path) -> None:
    store_of_a = DirectoryStore.create(tmp_path / "a")
    command = f"exec:{sys.executable} -m p2pannex.cli.shell.main p2pstdio {tmp_path}/a {store_of_a.uuid}"
    path = gateway(tmp_path)
    change(path, lambda config: attrs.evolve(config, nodes={"a": NodeConfig(store_of_a.uuid, command)}))
    content = b"content" * 10
    async with GatewayDirectory(path, open_url) as cluster:
        (node,) = cluster.nodes
        upload = await cluster.put(key_of(content))
        assert not isinstance(upload, AlreadyHave)
        async with upload:
            await upload.begin(len(content))
            change(path, lambda config: attrs.evolve(config, nodes={}))
            await cluster.reload()
            assert cluster.nodes == ()
            await upload.send_all(memoryview(content))
            assert isinstance(await upload.finish(True), Stored)
        assert await has(tmp_path / "a", key_of(content))
        with trio.fail_after(50):
            while node in cluster._nodes._closed:  # noqa: ASYNC110 - its event is gone when it is set
                await trio.sleep(0.05)
        with pytest.raises(ConnectionLost, match="closed"):
            await node.service.check_present(key_of(content))


def test_names_of_nodes_are_told_to_those_only_who_do_not_count_the_cluster(tmp_path: Path) -> None:
    assert not GatewayDirectory(gateway(tmp_path), open_url).name_nodes
    create(str(tmp_path / "git"), "family", uuid="ac110c8e-33bf-8d85-a1cf-cead626072d5")
    assert GatewayDirectory(tmp_path / "git", open_url).name_nodes


async def test_a_configuration_that_is_spoilt_before_the_block_is_entered(tmp_path: Path) -> None:
    path = gateway(tmp_path, "a")
    cluster = GatewayDirectory(path, open_url)
    (path / "p2pannex.toml").write_text("nonsense")
    with pytest.raises(NotAGateway):
        async with cluster:
            raise AssertionError("it was entered")


async def test_a_node_that_cannot_be_opened_is_logged_once(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    path = gateway(tmp_path, "a", "b")
    (tmp_path / "b").rename(tmp_path / "unplugged")
    async with GatewayDirectory(path, open_url) as cluster:
        for _ in range(3):
            await trio.sleep(10)
            assert not await cluster.check_present(key_of(b"absent"))
        (tmp_path / "unplugged").rename(tmp_path / "b")
        await trio.sleep(10)
    first, second = [record.getMessage() for record in caplog.records if record.name.startswith("p2pannex")]
    assert first.startswith("node b cannot be opened: ")
    assert str(tmp_path / "b") in first
    assert second == "node b was opened"


async def test_a_node_has_the_limits_that_are_configured(tmp_path: Path) -> None:
    path = gateway(tmp_path)
    config = GatewayConfig.load(path)
    limited = attrs.evolve(node(tmp_path, "a"), cost=150.0, timeout=5.0, transfers=3)
    attrs.evolve(config, nodes={"a": limited}).save(path)
    async with GatewayDirectory(path, open_url) as cluster:
        [a] = cluster.nodes
        assert (a.cost, a.timeout, a.limit) == (150, 5, 3)


async def test_a_changed_node_is_opened_anew(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = gateway(tmp_path, "a")
    async with GatewayDirectory(path, open_url) as cluster:
        config = GatewayConfig.load(path)
        attrs.evolve(config, nodes={"a": attrs.evolve(config.nodes["a"], timeout=5.0)}).save(path)
        await trio.sleep(2 * CONFIG_INTERVAL)
        assert [node.timeout for node in cluster.nodes] == [5]


async def test_another_repository_in_the_place_of_a_node_is_not_the_node(tmp_path: Path) -> None:
    path = gateway(tmp_path, "a")
    (tmp_path / "a").rename(tmp_path / "unplugged")
    async with DirectoryStore.create(tmp_path / "a") as other:
        key = await store(other, b"content")
    async with GatewayDirectory(path, open_url) as cluster:
        with pytest.raises(NotAllAsked):
            await cluster.check_present(key)


async def test_while_no_node_replies_content_is_not_reported_absent(tmp_path: Path) -> None:
    path = gateway(tmp_path, "a", "b")
    for name in "ab":
        (tmp_path / name).rename(tmp_path / f"unplugged-{name}")
    async with GatewayDirectory(path, open_url) as cluster:
        with pytest.raises(NotAllAsked):
            await cluster.check_present(key_of(b"content"))


async def test_a_failure_is_known_to_other_processes(tmp_path: Path) -> None:
    """To one that runs already, and to one that starts later. A node that is opened in another way begins anew."""
    path = gateway(tmp_path, "a", "b")
    async with GatewayDirectory(path, open_url) as first, GatewayDirectory(path, open_url) as running:
        assert not (path / "health").exists(), "nothing is written while all is well"
        (path / "health").mkdir()
        files = HealthFiles(str(path / "health"), lambda path: None)
        (a,) = [node for node in first.nodes if node.name == "a"]
        with files.of(a.uuid).claim():  # another process probes it, for ever
            a.failed("it hung")
            assert suspended(first) == ["a"]
            async with GatewayDirectory(path, open_url) as later:
                assert suspended(later) == ["a"]
                assert not (await later.remove(key_of(b"content"))).ok
            await until(lambda: suspended(running) == ["a"])
            change(path, lambda config: attrs.evolve(config, nodes={**config.nodes, "a": longer(config.nodes["a"])}))
            async with GatewayDirectory(path, open_url) as later:
                assert suspended(later) == []


def suspended(cluster: GatewayDirectory) -> list[str]:
    return [node.name for node in cluster.nodes if node.suspended]


def longer(config: NodeConfig) -> NodeConfig:
    return attrs.evolve(config, timeout=config.timeout + 1)
