"""Measures a cluster whose nodes have slow connections: does it use their full bandwidth, and does a slow node delay
the others?

The nodes are memory stores behind connections of a given bandwidth, in this process, in real time; clients connect over
pipes. The GETs of many clients are compared with the total bandwidth. A PUT to fast nodes and a slow one is compared
with the same PUT without a slow node.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable

import trio

from p2pannex.cluster import Cluster, Node
from p2pannex.cluster.uploads import QUEUE
from p2pannex.service import Service, Upload
from p2pannex.testing.benchmarks.stdio import Comparison, Row
from p2pannex.testing.samples import key_of
from p2pannex.testing.serving import served
from p2pannex.testing.simulated_node import Conditions, SimulatedNode
from p2pannex.transports.pump import move

UUID = "ac000000-0000-8000-8000-000000000001"
NODES = 3
CLIENTS = 12
RATE = 20e6
"""The bandwidth of a node's connection, in bytes a second."""
CONTENT = 4 << 20
"""The size of the content that is fetched again and again, in bytes."""
SECONDS = 2.0
"""How long content is fetched in one round."""

GOAL = 0.9
"""The goal of both figures, as a share of the figure that each is compared with."""


def run_throttled(*, rounds: int = 5, on_round: Callable[[str], None] = lambda _: None) -> Comparison:
    """Run the comparison. It blocks."""
    measured: list[tuple[float, float, float]] = []
    for number in range(rounds + 1):
        on_round(f"round {number} of {rounds}")
        figures = (
            trio.run(_aggregate),
            trio.run(_put_with_last_node_at, RATE / 10),
            trio.run(_put_with_last_node_at, RATE),
        )
        if number:
            measured.append(figures)
    median = statistics.median
    whole = NODES * RATE
    get, put, alone = (median(figures) for figures in zip(*measured, strict=True))
    ratio = median(put / alone for _, put, alone in measured)
    table = (
        Row(f"GET, {CLIENTS} clients of {NODES}", "MB/s", get / 1e6, whole / 1e6, get / whole, GOAL),
        Row("PUT beside a slow node", "MB/s", put / 1e6, alone / 1e6, ratio, GOAL),
    )
    return Comparison(table, CONTENT, rounds, 0, 0, columns=("cluster", "at best"))


def _cluster(*rates: float) -> tuple[Cluster, list[SimulatedNode]]:
    nodes = [SimulatedNode(f"{n}", conditions=Conditions(bandwidth=rate)) for n, rate in enumerate(rates)]
    return Cluster(UUID, [Node(node.name, node) for node in nodes]), nodes


async def _discard(view: memoryview) -> None:
    await trio.lowlevel.checkpoint()


async def _aggregate() -> float:
    """Bytes a second that many clients receive in total, from nodes whose connections are equally slow."""
    cluster, nodes = _cluster(*[RATE] * NODES)
    content = os.urandom(CONTENT)
    key = key_of(content)
    for node in nodes:
        node.store.contents[key] = content
    fetched = 0

    def count(size: int) -> None:
        nonlocal fetched
        fetched += size

    async def fetch_again_and_again(service: Service) -> None:
        while True:
            async with await service.get(key) as download:
                await move(download.length, download.readinto, _discard, count)
                await download.finish(await download.valid())

    async with (
        cluster,
        served(cluster, transport="pipe", connections=CLIENTS) as remote,
        trio.open_nursery() as nursery,
    ):
        for _ in range(CLIENTS):
            nursery.start_soon(fetch_again_and_again, remote)
        await trio.sleep(SECONDS / 4)  # until all connections are busy
        started, before = trio.current_time(), fetched
        await trio.sleep(SECONDS)
        rate = (fetched - before) / (trio.current_time() - started)
        nursery.cancel_scope.cancel()
    return rate


async def _put_with_last_node_at(last_rate: float) -> float:
    """Bytes a second at which content that fits into a queue reaches all nodes except the last one, whose connection
    has the bandwidth `last_rate`."""
    cluster, nodes = _cluster(*[RATE] * (NODES - 1), last_rate)
    content = os.urandom(QUEUE)
    async with cluster, served(cluster, transport="pipe") as remote:
        upload = await remote.put(key_of(content))
        assert isinstance(upload, Upload)
        async with upload:
            await upload.begin(len(content))
            started = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(upload.send_all, memoryview(content))
                for node in nodes[:-1]:
                    await _has_taken(node, len(content))
                rate = len(content) / (trio.current_time() - started)
    return rate


async def _has_taken(node: SimulatedNode, size: int) -> None:
    while node.taken < size:  # noqa: ASYNC110 - a simulated node has no event for it
        await trio.sleep(0.001)
