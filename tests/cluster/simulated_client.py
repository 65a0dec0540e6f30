"""A cluster as its client sees it: itself, or through the protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from p2pannex.cluster.node import NODE_TIMEOUT
from p2pannex.service import Service
from p2pannex.testing.serving import served
from p2pannex.testing.simulator import Simulation


@asynccontextmanager
async def seen_by_a_client(world: Simulation, *, through_protocol: bool) -> AsyncIterator[Service]:
    async with world.cluster(timeout=NODE_TIMEOUT) as cluster:
        if through_protocol:
            async with served(cluster, timeout=1000) as remote:
                yield remote
        else:
            yield cluster
