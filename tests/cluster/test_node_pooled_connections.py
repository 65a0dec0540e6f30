"""Nodes behind connections that are kept: dead ones are replaced unnoticed, servers that are down are left alone."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from p2pannex.cluster import Cluster, Node
from p2pannex.cluster.health import LONGEST_BACK_OFF
from p2pannex.errors import ConnectionLost
from p2pannex.p2p.peer import Peer
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.pair import PEERS, Pair
from p2pannex.testing.samples import key_of, sample, store
from p2pannex.testing.serving import served
from p2pannex.testing.simulator import Simulation, simulate


class Server:
    """Where connections come from. It can go down, and end those that there are."""

    def __init__(self, transport: str) -> None:
        self.transport = transport
        self.down = False
        self.dialled = 0
        self.ends: list[Peer] = []

    def peers(self, **settings: Any) -> Pair:
        self.dialled += 1
        if self.down:
            raise ConnectionLost("connection refused")
        pair = PEERS[self.transport](**settings)
        self.ends.append(pair[1])
        return pair

    async def restart(self) -> None:
        for end in self.ends:
            await end.aclose()
        self.ends.clear()


async def test_a_server_that_was_restarted_is_not_noticed() -> None:
    server = Server("socket")
    far = MemoryStore("far")
    async with (
        served(far, peers=server.peers) as remote,
        Cluster("cluster", [Node("far", remote), Node("near", MemoryStore("near"))]) as cluster,
    ):
        node = cluster.nodes[0]
        keys = [await store(cluster, sample(100, seed)) for seed in range(4)]
        requests: list[Callable[[], Awaitable[object]]] = [
            lambda: cluster.check_present(keys[0]),
            lambda: cluster.remove(keys[1]),  # which is never sent twice: the connection has to be known to be dead
            lambda: cluster.remove(keys[2], before=int(cluster.clock.monotonic()) + 100),
            lambda: cluster.put(key_of(sample(100, 3))),
        ]
        for request in requests:
            dialled = server.dialled
            await server.restart()
            assert await request()
            assert server.dialled == dialled + 1
            assert node.health.failures == 0
        assert list(far.contents) == [keys[0], keys[3]]


def test_a_server_that_is_down_is_left_alone_for_longer_and_longer() -> None:
    async def scenario(world: Simulation) -> None:
        server = Server("memory")
        near = MemoryStore("near")
        async with (
            served(MemoryStore("far"), peers=server.peers) as remote,
            Cluster("cluster", [Node("far", remote, cost=1), Node("near", near)]) as cluster,
        ):
            key = await store(cluster, b"content")
            server.down = True
            await server.restart()
            began, dialled = server.dialled, [trio.current_time()]
            while trio.current_time() < dialled[0] + 300:
                assert await cluster.check_present(key), "the other node answers"
                if server.dialled > began + len(dialled) - 1:
                    dialled.append(trio.current_time())
                await trio.sleep(0.5)
            pauses = [later - earlier for earlier, later in itertools.pairwise(dialled[1:])]
            assert len(pauses) < 30, "it is not dialled at every request"
            assert pauses[0] < 2
            assert LONGEST_BACK_OFF / 2 <= max(pauses) <= LONGEST_BACK_OFF + 1
            server.down = False
            await trio.sleep(LONGEST_BACK_OFF)
            assert await cluster.check_present(key)
            assert cluster.nodes[0].health.failures == 0

    simulate(scenario)
