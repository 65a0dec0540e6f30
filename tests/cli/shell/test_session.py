"""How p2pannex-shell, which has one client, has its stores wait for the disk."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from p2pannex.cli.shell.session import OPEN
from p2pannex.gateways.directory.cluster import GatewayDirectory, NodeConfig, create
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.files.objects import ObjectStore
from p2pannex.system.disk_work import Batched, Inline, InThreads
from p2pannex.urls import open_local, open_url


def annex(path: Path) -> str:
    for words in (
        ["init", "-q", "--bare", str(path)],
        ["-C", str(path), "config", "annex.uuid", "aaaaaaaa-1111-4222-8333-bbbbbbbbbbbb"],
        ["-C", str(path), "config", "annex.version", "10"],
    ):
        subprocess.run(["git", *words], check=True)
    return str(path)


def directory(path: Path) -> str:
    DirectoryStore.create(path)
    return str(path)


@pytest.mark.parametrize(("kind", "make"), [("annex", annex), ("directory", directory)])
async def test_one_store_does_its_disk_work_inline(kind: str, make: Callable[[Path], str], tmp_path: Path) -> None:
    path = make(tmp_path / "store")
    async with OPEN[kind](path) as store:
        assert isinstance(store, ObjectStore)
        assert isinstance(store.disk_work, Inline)
    async with open_local(path) as store:
        assert isinstance(store, ObjectStore)
        assert isinstance(store.disk_work, InThreads), "other programs have several clients"


async def test_the_nodes_of_a_gateway_directory_share_one_batch(tmp_path: Path) -> None:
    config = create(str(tmp_path / "gateway"), "family")
    stores = {name: DirectoryStore.create(tmp_path / name) for name in "abc"}
    nodes = {name: NodeConfig(store.uuid, str(tmp_path / name)) for name, store in stores.items()}
    attrs.evolve(config, nodes=nodes).save(tmp_path / "gateway")
    async with OPEN["directory"](str(tmp_path / "gateway")) as gateway:
        assert isinstance(gateway, GatewayDirectory)
        ways = [node.service.disk_work for node in gateway.nodes if isinstance(node.service, ObjectStore)]
        batched = [way for way in ways if isinstance(way, Batched)]
        assert len(batched) == 3
        assert len({id(way._batch) for way in batched}) == 1
        assert len({id(way._one_at_a_time) for way in batched}) == 3
    async with await open_url(str(tmp_path / "gateway")) as gateway:
        assert isinstance(gateway, GatewayDirectory)
        for node in gateway.nodes:
            assert isinstance(node.service, ObjectStore)
            assert isinstance(node.service.disk_work, InThreads)
