"""A gateway directory with directory stores as nodes."""

from __future__ import annotations

from pathlib import Path

import attrs

from p2pannex.gateways.directory.cluster import (
    NodeConfig,
    create,
)
from p2pannex.keys.key import Key
from p2pannex.stores.directory import DirectoryStore


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
