"""What `StatusReader` finds out about the nodes of a gateway directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import trio.testing

import p2pannex
from p2pannex.gateways.directory.cluster import GatewayDirectory
from p2pannex.gateways.directory.config import NodeConfig, change, create
from p2pannex.gateways.directory.node_status import RECOUNT, NodeStatus, StatusReader
from p2pannex.gateways.directory.status import StatusFile
from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.samples import store
from p2pannex.urls import open_url
from tests.support.special_remotes import PLAIN as SPECIAL


@pytest.fixture
def gateway(tmp_path: Path) -> Path:
    create(str(tmp_path / "gateway"), "family")
    return tmp_path / "gateway"


def add(gateway: Path, name: str, node: NodeConfig) -> None:
    change(gateway, lambda config: config.with_node(name, node))


def local(tmp_path: Path, name: str, **fields: str) -> NodeConfig:
    return NodeConfig(DirectoryStore.create(tmp_path / name).uuid, str(tmp_path / name), **fields)  # type: ignore[arg-type]


async def test_stores_of_this_machine(gateway: Path, tmp_path: Path) -> None:
    add(gateway, "b", local(tmp_path, "b", wanted="nothing"))
    add(gateway, "a", local(tmp_path, "a"))
    file = StatusFile(str(gateway))
    file.write({"a": 2})
    async with GatewayDirectory(gateway, open_url, report=False) as cluster:
        await store(cluster, b"content")
        status = await StatusReader(cluster).read()
    file.close()
    assert status.processes == 1
    a, b = status.nodes
    assert (a.name, a.keys, a.transfers, a.clock_offset, a.wanted, a.problem) == ("a", 1, 2, 0, "", None)
    assert (b.name, b.keys, b.transfers, b.clock_offset, b.wanted, b.problem) == ("b", 0, 0, 0, "nothing", None)
    assert a.node is not None
    assert a.milliseconds is not None


async def test_a_node_that_cannot_be_opened(gateway: Path, tmp_path: Path) -> None:
    add(gateway, "a", local(tmp_path, "a"))
    (tmp_path / "a").rename(tmp_path / "away")
    async with GatewayDirectory(gateway, open_url, report=False) as cluster:
        (a,) = (await StatusReader(cluster).read()).nodes
    assert a.problem is not None
    assert "not a p2pannex store" in a.problem
    assert a == NodeStatus("a", problem=a.problem)


async def test_a_remote_node_replies_but_its_keys_are_unknown(
    gateway: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its program is gone: then it has a problem."""
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(os.path.dirname(p2pannex.__file__)))
    uuid = local(tmp_path, "a").uuid
    url = f"exec:{sys.executable} -m p2pannex.cli.shell.main p2pstdio {tmp_path}/a client"
    add(gateway, "a", NodeConfig(uuid, url))
    async with GatewayDirectory(gateway, open_url, report=False) as cluster:
        (a,) = (await StatusReader(cluster).read()).nodes
        assert (a.keys, a.problem) == (None, None)
        assert abs(a.clock_offset or 0) <= 1
        add(gateway, "a", NodeConfig(uuid, "exec:false"))
        await cluster.reload()
        (a,) = (await StatusReader(cluster).read()).nodes
        assert a.node is not None
        assert a.milliseconds is None
        assert "exit status 1" in str(a.problem)


async def test_a_special_remote(gateway: Path, tmp_path: Path) -> None:
    node = NodeConfig(
        "u", external=(sys.executable, "-I", "-S", str(SPECIAL), "2"), settings={"directory": str(tmp_path / "cloud")}
    )
    add(gateway, "cloud", node)
    async with GatewayDirectory(gateway, open_url, report=False) as cluster:
        (cloud,) = (await StatusReader(cluster).read()).nodes
    assert (cloud.keys, cloud.clock_offset, cloud.problem) == (None, 0, None)


async def test_keys_are_counted_anew_after_a_minute(
    gateway: Path, tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    add(gateway, "a", local(tmp_path, "a"))
    async with GatewayDirectory(gateway, open_url, report=False) as cluster:
        reader = StatusReader(cluster)

        async def keys() -> int | None:
            (a,) = (await reader.read()).nodes
            return a.keys

        assert await keys() == 0
        await store(cluster, b"content")
        assert await keys() == 0
        assert (await StatusReader(cluster).read()).nodes[0].keys == 1
        mock_clock.jump(RECOUNT)
        assert await keys() == 1
