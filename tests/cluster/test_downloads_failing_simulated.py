"""Downloads whose sources fail at any byte."""

from __future__ import annotations

import pytest

from p2pannex.cluster import Cluster, Node
from p2pannex.p2p.stream_peer import SLICE
from p2pannex.testing.samples import fetch, key_of, sample
from p2pannex.testing.serving import served
from p2pannex.testing.simulator import Failing, Simulation, simulate
from p2pannex.transports.pump import BLOCK, FILE_RANGE, SMALL_BODY
from tests.cluster.simulated_client import seen_by_a_client


async def reading(world: Simulation) -> int:
    """A GET from nodes of which all but the last fail at some byte; how many failed."""
    random = world.random
    size = random.choice([1, 2, random.randint(3, 100), random.randint(1000, 3_000_000)])
    content = sample(size, world.seed)
    key = key_of(content)
    offset = random.choice([0, random.randint(0, size - 1)])
    for number in range(random.randint(2, 4)):
        node = world.node(str(number), latency=0.05)
        node.store.contents[key] = content
    for node in world.nodes[:-1]:
        node.fail(random.choice(list(Failing)), random.choice([0, size - offset, random.randint(0, size - offset)]))
    async with seen_by_a_client(world, through_protocol=random.random() < 0.5) as service:
        assert await fetch(service, key, offset, piece=random.choice([1 << 20, size // 7 + 1])) == content[offset:]
    return sum(node.conditions.bytes_left < 0 for node in world.nodes)


def test_a_download_whose_sources_fail_at_any_byte() -> None:
    failed = [simulate(reading, seed) for seed in range(150)]
    assert set(failed) >= {1, 2, 3}


@pytest.mark.parametrize("failing", Failing)
def test_a_download_whose_source_fails_at_every_byte(failing: Failing) -> None:
    """Every byte, the one after the last included: where the source would have said that all was well."""
    content = sample(40)
    key = key_of(content)

    async def scenario(world: Simulation) -> None:
        for after in range(-1, len(content) + 1):
            world.nodes.clear()
            for name in "ab":
                world.node(name).store.contents[key] = content
            world.nodes[0].fail(failing, after)
            async with world.cluster() as cluster, served(cluster, timeout=1000) as remote:
                assert await fetch(remote, key, piece=7) == content, f"failing after {after}"
            assert world.nodes[0].conditions.bytes_left < 0, "it failed"

    simulate(scenario)


BORDERS = sorted(
    {border + step for border in (SMALL_BODY, SLICE, FILE_RANGE, BLOCK, 2 * BLOCK) for step in (-1, 0, 1)}
    | {0, 1, 2 * BLOCK + 6}
)
"""Bytes of content of 2 * BLOCK + 7 at which what moves it begins something new, or has just ended it."""


@pytest.mark.parametrize("failing", Failing)
@pytest.mark.parametrize("transport", ["memory", "stream"])
def test_a_download_whose_source_fails_at_the_borders_of_blocks(failing: Failing, transport: str) -> None:
    """The source behind a connection, too: what has arrived of it is passed on to the byte, whatever broke then."""
    content = sample(2 * BLOCK + 7)
    key = key_of(content)

    async def scenario(world: Simulation) -> None:
        for after in BORDERS:
            world.nodes.clear()
            for name in "ab":
                world.node(name).store.contents[key] = content
            world.nodes[0].fail(failing, after)
            async with (
                served(world.nodes[0], transport=transport, timeout=1000) as a,
                served(world.nodes[1], transport=transport, timeout=1000) as b,
                Cluster("cluster", [Node("a", a, cost=1), Node("b", b, cost=2)]) as cluster,
                served(cluster, transport=transport, timeout=1000) as client,
            ):
                assert await fetch(client, key) == content, f"failing after {after}"
            assert world.nodes[0].conditions.bytes_left < 0, "it failed"

    simulate(scenario)
