"""Clusters, held to the contract of every Service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from p2pannex.cluster import Cluster, Node
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.services import SERVICE_CHECKS, Check, check_service
from p2pannex.testing.serving import served


@asynccontextmanager
async def of_stores() -> AsyncIterator[Cluster]:
    async with Cluster("cluster", [Node(name, MemoryStore()) for name in "abc"]) as cluster:
        yield cluster


@asynccontextmanager
async def of_remotes() -> AsyncIterator[Cluster]:
    """Nodes of three versions."""
    async with (
        served(MemoryStore(), transport="socket", version=4) as a,
        served(MemoryStore(), transport="socket", version=3) as b,
        served(MemoryStore(), transport="socket", version=1) as c,
        Cluster("cluster", [Node("a", a), Node("b", b), Node("c", c)]) as cluster,
    ):
        yield cluster


@asynccontextmanager
async def of_clusters() -> AsyncIterator[Cluster]:
    async with (
        Cluster("inner", [Node(name, MemoryStore()) for name in "ab"], gateway="g1") as inner,
        Cluster("outer", [Node("inner", inner), Node("c", MemoryStore())], gateway="g2") as outer,
    ):
        yield outer


@asynccontextmanager
async def served_cluster() -> AsyncIterator[object]:
    async with of_stores() as cluster, served(cluster, transport="socket") as remote:
        yield remote


SERVICES = {"stores": of_stores, "remotes": of_remotes, "clusters": of_clusters, "served": served_cluster}


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("check", SERVICE_CHECKS, ids=lambda check: check.__name__)
async def test_service(check: Check, name: str) -> None:
    await check_service(SERVICES[name], checks=[check])  # type: ignore[arg-type]
