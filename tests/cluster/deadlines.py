"""A client of a gateway of nodes whose clocks are off, for tests of deadlines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from p2pannex.cluster import Cluster, Node
from p2pannex.keys.key import Key
from p2pannex.service import Removal, Service
from p2pannex.testing.pair import PEERS, Pair
from p2pannex.testing.serving import served
from p2pannex.testing.simulator import SimulatedClock, Simulation

MILLION = 1e6
REMOVED = f"remove: {Removal(True)!r}"


class Connections:
    """The connections to one server, all of which can be cut."""

    def __init__(self) -> None:
        self._pairs: list[Pair] = []

    def make(self, **settings: float) -> Pair:
        pair = PEERS["memory"](**settings)
        self._pairs.append(pair)
        return pair

    async def cut(self) -> None:
        pairs, self._pairs = self._pairs, []
        for _, server in pairs:
            await server.aclose()


class Setting:
    """A client of a gateway of nodes, joined by connections."""

    def __init__(self, world: Simulation, client: Service, clock: SimulatedClock, connections: list[Connections]):
        self.world = world
        self.client = client
        self.clock = clock
        self.connections = connections

    async def removes_in_time(self, key: Key, allowed: int, *, pause: float, between: Callable[[], object]) -> bool:
        """Ask for the clock, let `pause` seconds pass and `between` happen, ask for removal; whether it was removed.

        AssertionError where it happened at the true time of the deadline, or later.
        """
        world = self.world
        for node in world.nodes:
            node.store.contents[key] = b""
        before = await self.client.timestamp() + allowed
        deadline = self.clock.true_time(before)
        await trio.sleep(pause)
        between()
        for connections in self.connections:
            if world.random.random() < 0.5:
                await connections.cut()
        begun = len(world.trace)
        removal = await self.client.remove(key, before=before)
        for time, name, event in world.trace[begun:]:
            assert event != REMOVED or time < deadline, f"{name} removed {time - deadline} s after the deadline"
        assert removal.ok == all(key not in node.store.contents for node in world.nodes)
        return removal.ok


@asynccontextmanager
async def setting(
    world: Simulation, versions: list[int], *, skew: float, client_version: int
) -> AsyncIterator[Setting]:
    connections = [Connections() for _ in range(len(versions) + 1)]
    clock = SimulatedClock(skew)
    async with AsyncExitStack() as stack:
        nodes = []
        for node, version, to_node in zip(world.nodes, versions, connections[1:], strict=True):
            remote = await stack.enter_async_context(served(node, version=version, peers=to_node.make))
            nodes.append(Node(node.name, remote))
        cluster = await stack.enter_async_context(Cluster("cluster", nodes, clock=clock))
        client = await stack.enter_async_context(
            served(cluster, version=client_version, peers=connections[0].make, timeout=300)
        )
        yield Setting(world, client, clock, connections)
