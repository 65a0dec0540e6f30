"""Content that is balanced by how full nodes are: counted in directories of this machine, and nowhere else."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest

from p2pannex.errors import RemoteError
from p2pannex.gateways.directory.cluster import GatewayDirectory
from p2pannex.gateways.directory.config import GatewayConfig, NodeConfig, NotAGateway, change, create
from p2pannex.gateways.directory.sizes import RECOUNT, Count, NodeSizes
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.files.inventory import Contents
from p2pannex.testing.samples import key_of, sample, store
from p2pannex.urls import open_url


def gateway(tmp_path: Path, wanted: str, **limits: str) -> Path:
    path = tmp_path / "gateway"
    create(str(path), "family")
    nodes = {
        name: NodeConfig(
            DirectoryStore.create(tmp_path / name).uuid,
            str(tmp_path / name),
            wanted=wanted,
            groups=("disks",),
            max_size=limit,
        )
        for name, limit in limits.items()
    }
    change(path, lambda config: attrs.evolve(config, nodes=nodes))
    return path


async def held(tmp_path: Path, *names: str) -> list[int]:
    found = []
    for name in names:
        async with DirectoryStore(tmp_path / name) as node:
            found.append(node.contents().bytes)
    return found


async def test_content_goes_to_the_least_full(tmp_path: Path) -> None:
    path = gateway(tmp_path, "fullysizebalanced=disks", a="100kB", b="10kB", c="")
    async with DirectoryStore(tmp_path / "a") as node:
        await store(node, sample(50_000, 99))
    async with GatewayDirectory(path, open_url) as cluster:
        for number in range(8):  # the counts are a moment old; what was sent since then is added
            await store(cluster, sample(1000, number))
    assert await held(tmp_path, "a", "b", "c") == [52_000, 6000, 0], "half full each at 50 and 5; c has no limit"


async def test_a_full_node_is_left_out(tmp_path: Path) -> None:
    path = gateway(tmp_path, "balanced=disks:2", a="2kB", b="", c="1MB")
    async with GatewayDirectory(path, open_url) as cluster:
        for number in range(12):
            await store(cluster, sample(1000, number))
    a, b, c = await held(tmp_path, "a", "b", "c")
    assert a <= 2000
    assert a + b + c == 24_000


async def test_content_for_which_there_is_no_room_is_refused(tmp_path: Path) -> None:
    path = gateway(tmp_path, "sizebalanced=disks", a="500B", b="600B")
    async with GatewayDirectory(path, open_url) as cluster:
        with pytest.raises(RemoteError, match="no node of the cluster wants this content"):
            await cluster.put(key_of(sample(1000)))
        await store(cluster, sample(550))
    assert await held(tmp_path, "a", "b") == [0, 550]


async def test_processes_share_a_count(tmp_path: Path) -> None:
    path = gateway(tmp_path, "sizebalanced=disks", a="10kB", b="10kB")
    uuids = [node.uuid for node in GatewayConfig.load(path).nodes.values()]
    count = {"bytes": 9900, "counted": time.time(), "took": 0.0}
    (path / "sizes.json").write_text(json.dumps({uuids[0]: count, uuids[1]: count | {"bytes": 0}}))
    async with GatewayDirectory(path, open_url) as cluster:
        for number in range(3):
            await store(cluster, sample(1000, number))
    assert await held(tmp_path, "a", "b") == [0, 3000]


class Shelf:
    def __init__(self, bytes_: int) -> None:
        self.bytes = bytes_
        self.counted = 0

    def contents(self) -> Contents:
        self.counted += 1
        return Contents(1, self.bytes, 0, 0)


async def test_a_count_is_good_for_a_while(tmp_path: Path) -> None:
    shelf = Shelf(100)
    stores: Mapping[str, Shelf] = {"u": shelf}
    sizes = NodeSizes(str(tmp_path))
    with pytest.raises(RemoteError, match="repository u cannot be reached, and how much it holds was never counted"):
        await sizes.of(["u"], {})
    assert await sizes.of(["u"], stores) == {"u": 100}
    sizes.add_pending("u", 30)
    assert await sizes.of(["u"], {}) == {"u": 130}
    await sizes.count(stores)
    assert shelf.counted == 1
    old = attrs.asdict(Count(70, time.time() - RECOUNT - 1, 0.1))
    (tmp_path / "sizes.json").write_text(json.dumps({"u": old, "other": old}))
    assert await sizes.of(["u"], stores) == {"u": 100}, "an old count is better than to wait for a new one"
    await sizes.count(stores)
    assert shelf.counted == 2
    assert await sizes.of(["u", "other"], stores) == {"u": 100, "other": 70}
    (tmp_path / "sizes.json").write_text(json.dumps({"u": old | {"took": 60.0}}))
    await sizes.count(stores)
    assert shelf.counted == 2, "what took a minute is not done again after a minute"
    (tmp_path / "sizes.json").write_text("nonsense")
    assert await sizes.of(["u"], stores) == {"u": 100}


def test_a_limit_that_cannot_be_checked_is_an_error(tmp_path: Path) -> None:
    path = gateway(tmp_path, "balanced=disks", a="1GB")
    text = (path / "p2pannex.toml").read_text()
    for url, limit, problem in (
        ("tcp://localhost:1", "1GB", "node a: max_size is for directories of this machine"),
        ("/srv", "a lot", "node a: max_size is not a size"),
    ):
        changed = text.replace(str(tmp_path / "a"), url).replace('"1GB"', f'"{limit}"')
        (path / "p2pannex.toml").write_text(changed)
        with pytest.raises(NotAGateway, match=problem):
            GatewayConfig.load(path)
