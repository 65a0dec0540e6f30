"""Gateways of gateways, with cycles and diamonds: every node is asked exactly once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Iterator
from contextlib import AsyncExitStack

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from p2pannex.cluster import Cluster, Node
from p2pannex.service import AlreadyHave, NotLocked, Stored
from p2pannex.testing.samples import fetch, key_of, sample, store
from p2pannex.testing.serving import served
from p2pannex.testing.simulator import SimulatedNode, Simulation, simulate

GATEWAYS = 5

Edges = frozenset[tuple[int, int]]


def paths(edges: Edges, start: int, seen: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Every way from a gateway to others, without coming by the same twice; the gateways on it."""
    yield seen
    for one, other in edges:
        for here, there in ((one, other), (other, one)):
            if here == start and there not in seen and there != start:
                yield from (
                    path for path in paths(frozenset(e for e in edges if start not in e), there, (*seen, there))
                )


def asked(world: Simulation, what: str) -> dict[str, int]:
    """How often each node was asked."""
    return {node.name: node.asked.get(what, 0) for node in world.nodes}


EDGES = st.sets(
    st.tuples(st.integers(0, GATEWAYS - 1), st.integers(0, GATEWAYS - 1)).filter(lambda edge: edge[0] < edge[1]),
    max_size=10,
).map(frozenset)


@given(edges=EDGES, start=st.integers(0, GATEWAYS - 1), bypassed=st.sets(st.integers(0, GATEWAYS - 1), max_size=2))
@settings(max_examples=40, deadline=None)
def test_nodes_reached_by_many_ways(edges: Edges, start: int, bypassed: set[int]) -> None:
    """A gateway that knows every way to every node behind any other gateway, as `Node.via` tells it."""
    bypassed = bypassed - {start}
    ways = list(paths(edges, start))
    reachable = {start} | {path[-1] for path in ways if path and bypassed.isdisjoint(path)}

    async def scenario(world: Simulation) -> None:
        leaves: dict[int, SimulatedNode] = {gateway: world.node(f"n{gateway}") for gateway in range(GATEWAYS)}
        nodes = [
            Node(f"{path}", leaves[path[-1] if path else start], via=[f"g{hop}" for hop in path], cost=len(path))
            for path in ways
        ]
        world.random.shuffle(nodes)
        content = sample(100)
        key = key_of(content)
        expected = {f"n{gateway}": int(gateway in reachable) for gateway in range(GATEWAYS)}
        async with Cluster("cluster", nodes, gateway=f"g{start}") as cluster:
            view = cluster.bypassing(frozenset(f"g{gateway}" for gateway in bypassed))
            assert not await view.check_present(key)
            assert asked(world, "check_present") == expected
            assert await fetch(view, key) is None
            assert asked(world, "get") == expected
            with pytest.raises(NotLocked):
                await view.lock(key)
            assert asked(world, "lock") == expected
            await store(view, content)
            assert asked(world, "put") == expected
            assert (await view.remove(key)).ok
            assert asked(world, "remove") == expected
            await view.aclose()

    simulate(scenario)


async def mesh(world: Simulation, edges: Edges, stack: AsyncExitStack, *, through_protocol: bool) -> list[Cluster]:
    """Gateways, each of a node of its own and of the gateways that it is joined to, each way."""
    clusters: list[Cluster] = []
    for number in range(GATEWAYS):
        leaf = world.node(f"n{number}")
        clusters.append(
            await stack.enter_async_context(Cluster(f"cluster-{number}", [Node(leaf.name, leaf)], gateway=f"g{number}"))
        )
    for one, other in edges:
        for here, there in ((one, other), (other, one)):
            service = clusters[there]
            far = await stack.enter_async_context(served(service)) if through_protocol else service
            clusters[here].add(Node(f"g{there}", far, via=[f"g{there}"], timeout=1000))
    return clusters


RINGS: dict[str, Edges] = {
    "two": frozenset({(0, 1)}),
    "line": frozenset({(0, 1), (1, 2), (2, 3), (3, 4)}),
    "star": frozenset({(0, 1), (0, 2), (0, 3), (0, 4)}),
    "triangle": frozenset({(0, 1), (1, 2), (0, 2)}),
    "all": frozenset((a, b) for b in range(GATEWAYS) for a in range(b)),
}


def component(edges: Edges, start: int) -> set[int]:
    return {start} | {path[-1] for path in paths(edges, start) if path}


@pytest.mark.parametrize("through_protocol", [False, True])
@pytest.mark.parametrize("name", RINGS)
def test_gateways_that_know_each_other(name: str, through_protocol: bool) -> None:
    """Gateways that are nodes of each other: BYPASS keeps a request from going round, and from coming twice."""
    edges = RINGS[name]

    async def scenario(world: Simulation) -> None:
        async with AsyncExitStack() as stack:
            clusters = await mesh(world, edges, stack, through_protocol=through_protocol)
            for start, cluster in enumerate(clusters):
                content = sample(1000, start)
                key = key_of(content)
                for node in world.nodes:
                    node.asked.clear()
                expected = {f"n{number}": int(number in component(edges, start)) for number in range(GATEWAYS)}
                assert not await cluster.check_present(key)
                assert asked(world, "check_present") == expected
                assert await fetch(cluster, key) is None
                assert asked(world, "get") == expected
                with pytest.raises(NotLocked):
                    await cluster.lock(key)
                assert asked(world, "lock") == expected
                upload = await cluster.put(key)
                assert not isinstance(upload, AlreadyHave)
                async with upload:
                    await upload.begin(len(content))
                    await upload.send_all(memoryview(content))
                    outcome = await upload.finish(True)
                assert isinstance(outcome, Stored)
                holds = {node.uuid for node in world.nodes if key in node.store.contents}
                assert holds == {f"uuid-of-{name}" for name, times in expected.items() if times}
                assert holds <= outcome.uuids
                assert asked(world, "put") == expected
                assert await fetch(cluster, key) == content
                assert (await cluster.remove(key)).ok
                assert asked(world, "remove") == expected

    simulate(scenario)


class Wiring:
    """Gateways that know nothing but the nodes that they were given, of which some are gateways."""

    def __init__(self, arrows: frozenset[tuple[int, int]], shared: frozenset[tuple[int, int]]) -> None:
        self.arrows = arrows
        """Which gateway has which other for a node."""
        self.leaves = {(gateway, f"n{gateway}") for gateway in range(GATEWAYS)}
        """Which gateway has which repository for a node: one of its own, and those that it shares with others."""
        self.leaves |= {(gateway, f"n{other}") for gateway, other in shared}

    def reachable(self, start: int, bypassed: Container[int] = ()) -> set[str]:
        """The repositories that some way leads to."""
        seen, behind = {start}, [start]
        while behind:
            here = behind.pop()
            for there in {there for gateway, there in self.arrows if gateway == here and there not in bypassed} - seen:
                seen.add(there)
                behind.append(there)
        return {leaf for gateway, leaf in self.leaves if gateway in seen}

    async def build(self, world: Simulation, stack: AsyncExitStack, connected: Container[tuple[int, int]] = ()) -> None:
        """Make the gateways. Those arrows that are `connected` are connections, which do not tell what is behind."""
        names = sorted({leaf for _, leaf in self.leaves})
        leaves = {name: world.node(name) for name in names}
        self.clusters = [
            await stack.enter_async_context(Cluster(f"cluster-{number}", gateway=f"g{number}"))
            for number in range(GATEWAYS)
        ]
        nodes: list[tuple[int, Node]] = []
        for gateway, leaf in self.leaves:
            nodes.append((gateway, Node(leaf, leaves[leaf], cost=world.random.randint(1, 3))))
        for here, there in self.arrows:
            cost = world.random.randint(1, 3)
            if (here, there) in connected:
                far = await stack.enter_async_context(served(self.clusters[there], timeout=1000))
                nodes.append((here, Node(f"g{there}", far, via=[f"g{there}"], cost=cost, timeout=1000)))
            else:
                nodes.append((here, Node(f"g{there}", self.clusters[there], cost=cost, timeout=1000)))
        nodes.sort(key=lambda pair: (pair[0], pair[1].name))
        world.random.shuffle(nodes)
        for gateway, node in nodes:
            self.clusters[gateway].add(node)


PAIRS = st.tuples(st.integers(0, GATEWAYS - 1), st.integers(0, GATEWAYS - 1)).filter(lambda pair: pair[0] != pair[1])
ARROWS = st.frozensets(PAIRS, max_size=12)


async def lock_nowhere(cluster: Cluster) -> None:
    with pytest.raises(NotLocked):
        await cluster.lock(key_of(b""))


COMMANDS: dict[str, Callable[[Cluster], Awaitable[object]]] = {
    "check_present": lambda cluster: cluster.check_present(key_of(b"")),
    "get": lambda cluster: fetch(cluster, key_of(b"")),
    "lock": lock_nowhere,
    "remove": lambda cluster: cluster.remove(key_of(b"")),
    "put": lambda cluster: store(cluster, sample(100)),
}
"""Requests for which every node has to be asked: the content is nowhere, or is to go everywhere or away from there."""


@given(
    arrows=ARROWS,
    shared=st.frozensets(PAIRS, max_size=4),
    bypassed=st.frozensets(st.integers(1, GATEWAYS - 1), max_size=1),
    seed=st.integers(0, 1000),
)
@example(frozenset({(0, 1), (0, 2), (1, 3), (2, 3), (3, 4)}), frozenset(), frozenset(), 0)
@example(frozenset({(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)}), frozenset(), frozenset(), 0)
@settings(max_examples=120, deadline=None)
def test_gateways_of_gateways(
    arrows: frozenset[tuple[int, int]], shared: frozenset[tuple[int, int]], bypassed: frozenset[int], seed: int
) -> None:
    """Gateways in any wiring, with cycles, diamonds and repositories that several have: all that can be reached is
    asked, and once."""
    wiring = Wiring(arrows, shared)

    async def scenario(world: Simulation) -> None:
        async with AsyncExitStack() as stack:
            await wiring.build(world, stack)
            view = wiring.clusters[0].bypassing(frozenset(f"g{number}" for number in bypassed))
            assert isinstance(view, Cluster)
            expected = {name: int(name in wiring.reachable(0, bypassed)) for _, name in wiring.leaves}
            for what, command in COMMANDS.items():
                await command(view)
                assert asked(world, what) == expected, what
            held = {node.name for node in world.nodes if node.store.contents}
            assert held == wiring.reachable(0, bypassed)
            await view.aclose()

    simulate(scenario, seed)


@given(arrows=ARROWS, shared=st.frozensets(PAIRS, max_size=3), connected=ARROWS, seed=st.integers(0, 1000))
@example(frozenset({(0, 1), (0, 2), (1, 3), (2, 3), (3, 4)}), frozenset(), frozenset({(0, 1), (0, 2)}), 0)
@settings(max_examples=60, deadline=None)
def test_gateways_that_do_not_tell_what_is_behind_them(
    arrows: frozenset[tuple[int, int]],
    shared: frozenset[tuple[int, int]],
    connected: frozenset[tuple[int, int]],
    seed: int,
) -> None:
    """Through remote gateways a node that can be reached by two paths is not recognised as the same node. Such a node
    may receive a request more than once, but no node is left out, and every reply is true."""
    wiring = Wiring(arrows, shared)

    async def scenario(world: Simulation) -> None:
        async with AsyncExitStack() as stack:
            await wiring.build(world, stack, connected)
            cluster = wiring.clusters[0]
            expected = wiring.reachable(0)
            for what, command in COMMANDS.items():
                await command(cluster)
                assert {name for name, times in asked(world, what).items() if times} == expected
            for node in world.nodes:
                node.store.contents.clear()
            content = sample(10)
            world.nodes[seed % len(world.nodes)].store.contents[key_of(content)] = content
            there = world.nodes[seed % len(world.nodes)].name in expected
            assert await cluster.check_present(key_of(content)) is there
            assert await fetch(cluster, key_of(content)) == (content if there else None)

    simulate(scenario, seed)
