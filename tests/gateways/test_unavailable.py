"""Nodes that cannot be opened."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from p2pannex.errors import RemoteError
from p2pannex.gateways.directory.cluster import (
    CONFIG_INTERVAL,
    GatewayDirectory,
)
from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.samples import fetch, key_of, store
from p2pannex.urls import open_url
from tests.gateways.directory.gateway import gateway, has


async def test_a_node_that_cannot_be_opened_is_tried_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = gateway(tmp_path, "a", "b")
    (tmp_path / "b").rename(tmp_path / "away")
    async with GatewayDirectory(path, open_url) as cluster:
        assert list(cluster.problems) == ["b"]
        assert "not a p2pannex store" in cluster.problems["b"]
        key = await store(cluster, b"content")
        assert await cluster.check_present(key)
        assert await fetch(cluster, key) == b"content"
        assert not await cluster.check_present(key_of(b"another")), "no node that replied has it"
        assert not (await cluster.remove(key)).ok, "it may be there as well"
        (tmp_path / "away").rename(tmp_path / "b")
        await trio.sleep(2 * CONFIG_INTERVAL)
        assert not cluster.problems
        assert not await cluster.check_present(key_of(b"another"))
        assert (await cluster.remove(key)).ok


async def test_content_is_not_reported_absent_if_no_node_replies(tmp_path: Path) -> None:
    path = gateway(tmp_path, "a", "b")
    for name in "ab":
        (tmp_path / name).rename(tmp_path / f"{name} away")
    async with GatewayDirectory(path, open_url) as cluster:
        with pytest.raises(RemoteError, match=r"not every node replied: a: .*not a p2pannex store"):
            await cluster.check_present(key_of(b"content"))


async def test_another_repository_in_a_nodes_place_is_not_used(tmp_path: Path) -> None:
    path = gateway(tmp_path, "a", "b")
    (tmp_path / "b").rename(tmp_path / "away")
    DirectoryStore.create(tmp_path / "b")
    async with GatewayDirectory(path, open_url) as cluster:
        assert "it is repository" in cluster.problems["b"]
        await store(cluster, b"content")
    assert not await has(tmp_path / "b", key_of(b"content"))
