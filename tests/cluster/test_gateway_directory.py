"""Gateway directories: clusters without git, from their configuration on."""

from __future__ import annotations

import sys
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

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
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Stored
from p2pannex.stores.directory import DirectoryStore, NotAStore
from p2pannex.testing.samples import fetch, key_of, store
from p2pannex.urls import open_url


def gateway(tmp_path: Path, *names: str) -> Path:
    """A gateway directory with directory stores as nodes."""
    path = tmp_path / "gateway"
    config = create(str(path), "family")
    nodes = {name: node(tmp_path, name) for name in names}
    attrs.evolve(config, nodes=nodes).save(path)
    return path


def node(tmp_path: Path, name: str) -> NodeConfig:
    return NodeConfig(DirectoryStore.create(tmp_path / name).uuid, str(tmp_path / name))


async def has(path: Path, key: Key) -> bool:
    async with DirectoryStore(path) as node:
        return await node.check_present(key)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    nodes = {
        name: NodeConfig("u" + str(i), f"exec:a 'b' \\ {name}", 2.5, 7) for i, name in enumerate(["a b", 'q"', "ü"])
    }
    nodes["s"] = NodeConfig(
        "us", wanted='groupwanted and include="*', groups=("g", 'h"'), external=("a b", "ü"), settings={"x y": "=\\'#"}
    )
    config = GatewayConfig("uuid", "gateway", 'a "cluster"', nodes, 3, {"g": "copies=1 and nothing"}, 5)
    config.save(tmp_path)
    assert GatewayConfig.load(tmp_path) == config


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('uuid = "x"', "is no gateway"),
        ('cluster = "c"', "no usable uuid"),
        ('cluster = "c"\nuuid = "x"\ngateway = 3', "no usable gateway"),
        ('cluster = "c"\nuuid = "x"\ngateway = "y"\n[nodes.a]\nuuid = "z"', "no usable url"),
        ('cluster = "c"\nuuid = "x"\ngateway = "y"\n[nodes.a]\nuuid = "z"\nurl = "/"\ncost = "1"', "cost of a node"),
        ('cluster = "c"\nuuid = "x"\ngateway = "y"\nnodes = 3', "cannot use"),
        ('cluster = "c"\nuuid = "x"\ngateway = "y"\nnumcopy = 2', "an unknown setting: numcopy"),
        ('cluster = "c"\nuuid = "x"\ngateway = "y"\nnumcopies = 0', "numcopies has to be a number, 1 or more"),
        *(
            (f'cluster = "c"\nuuid = "x"\ngateway = "y"\n[nodes.a]\nuuid = "z"\n{rest}', problem)
            for rest, problem in (
                ('url = "/"\nwantd = "nothing"', "node a has an unknown setting: wantd"),
                ('url = "/"\nwanted = "metadata=a"', "node a: metadata=a cannot be evaluated"),
                ('url = "/"\ngroups = "archive"', "groups has to be a list"),
                ('url = "/"\ntransfers = 0', "transfers has to be a number, 1 or more"),
                ('url = "/"\nexternal = ["x"]', "node a has both a url and a special remote"),
                ('external = ["x"]\nsettings = 3', "settings has to be a table"),
            )
        ),
        ("cluster", "cannot use"),
        ("\xff", "cannot use"),
    ],
)
def test_a_configuration_that_makes_no_sense(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "p2pannex.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(NotAGateway, match=problem) as caught:
        GatewayConfig.load(tmp_path)
    assert "\n" not in str(caught.value)


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
        with trio.fail_after(20):
            while node in cluster._nodes._closed:  # noqa: ASYNC110 - its event is gone when it is set
                await trio.sleep(0.05)
        with pytest.raises(ConnectionLost, match="closed"):
            await node.service.check_present(key_of(content))


async def test_a_node_that_cannot_be_opened_is_tried_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = gateway(tmp_path, "a", "b")
    (tmp_path / "b").rename(tmp_path / "away")
    async with GatewayDirectory(path, open_url) as cluster:
        assert list(cluster.problems) == ["b"]
        assert "no p2pannex store" in cluster.problems["b"]
        key = await store(cluster, b"content")
        assert await cluster.check_present(key)
        assert await fetch(cluster, key) == b"content"
        assert not await cluster.check_present(key_of(b"another")), "as far as anybody knows"
        assert not (await cluster.remove(key)).ok, "it may be there as well"
        (tmp_path / "away").rename(tmp_path / "b")
        await trio.sleep(2 * CONFIG_INTERVAL)
        assert not cluster.problems
        assert not await cluster.check_present(key_of(b"another"))
        assert (await cluster.remove(key)).ok


async def test_where_no_node_answers_nobody_says_that_content_is_not_there(tmp_path: Path) -> None:
    path = gateway(tmp_path, "a", "b")
    for name in "ab":
        (tmp_path / name).rename(tmp_path / f"{name} away")
    async with GatewayDirectory(path, open_url) as cluster:
        with pytest.raises(RemoteError, match=r"not every node replied: a: .*no p2pannex store"):
            await cluster.check_present(key_of(b"content"))


async def test_another_repository_in_a_nodes_place_is_not_used(tmp_path: Path) -> None:
    path = gateway(tmp_path, "a", "b")
    (tmp_path / "b").rename(tmp_path / "away")
    DirectoryStore.create(tmp_path / "b")
    async with GatewayDirectory(path, open_url) as cluster:
        assert "it is repository" in cluster.problems["b"]
        await store(cluster, b"content")
    assert not await has(tmp_path / "b", key_of(b"content"))


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
