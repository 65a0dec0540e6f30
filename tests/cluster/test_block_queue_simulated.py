"""Nodes that are slow, and the memory that they cost."""

from __future__ import annotations

import pytest
import trio

from p2pannex.cluster import Cluster
from p2pannex.cluster.uploads import PIECES, QUEUE
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, NotStored, Stored
from p2pannex.testing.samples import key_of, sample, send_pieces
from p2pannex.testing.simulator import Simulation, simulate
from p2pannex.transports.pump import Blocks


def test_a_slow_node_delays_no_other_while_its_queue_has_space() -> None:
    async def scenario(world: Simulation) -> dict[str, float]:
        content = sample(4 << 20)
        for name, bandwidth in (("a", 1e6), ("b", 1e6), ("slow", 1e5)):
            world.node(name, bandwidth=bandwidth)
        async with world.cluster() as cluster:
            assert isinstance(await put_in_blocks(cluster, content), Stored)
        return {name: time for time, name, event in world.trace if event.startswith("finish")}

    stored = simulate(scenario)
    size = 4 << 20
    assert stored == pytest.approx({"a": size / 1e6, "b": size / 1e6, "slow": size / 1e5})


async def put_in_blocks(cluster: Cluster, content: bytes) -> Stored | NotStored:
    upload = await cluster.put(key_of(content))
    assert not isinstance(upload, AlreadyHave)
    async with upload:
        await upload.begin(len(content))
        await send_pieces(upload, content, 1 << 20)
        return await upload.finish(True)


@pytest.mark.parametrize(("size", "piece"), [(24 << 20, 1 << 20), (3000, 1)])
def test_memory_is_bounded_by_the_queue(size: int, piece: int) -> None:
    """How far the client gets ahead of the slowest node: a queue, what the node is taking, and what is being sent."""

    async def scenario(world: Simulation) -> None:
        content = sample(size)
        world.node("fast")
        slow = world.node("slow", bandwidth=piece)
        ahead = 0
        async with world.cluster() as cluster:
            upload = await cluster.put(key_of(content))
            assert not isinstance(upload, AlreadyHave)
            async with upload:
                await upload.begin(size)
                for sent in range(piece, size + 1, piece):
                    await upload.send_all(memoryview(content)[sent - piece : sent])
                    ahead = max(ahead, sent - slow.taken)
                assert await upload.finish(True) == Stored(frozenset(node.uuid for node in world.nodes))
        bound = min(QUEUE, PIECES * piece)
        assert bound <= ahead <= bound + 2 * piece

    simulate(scenario)


def test_all_uploads_together_are_bounded_by_the_memory() -> None:
    """Uploads to nodes that take nothing. What they hold is given back when they end, in whichever way."""

    async def scenario(world: Simulation) -> None:
        memory, piece, count = Blocks(4 << 20), 1 << 18, 8
        world.node("stalled", bandwidth=1)
        async with world.cluster(memory=memory) as cluster:
            async with trio.open_nursery() as nursery:
                for number in range(count):
                    nursery.start_soon(
                        send_for_ever, cluster, Key.parse(b"SHA256-s%d--%064x" % (1 << 30, number)), piece
                    )
                await trio.sleep(5)
                assert memory.limit <= memory.used <= memory.limit + 3 * count * piece, "a few blocks more on their way"
                nursery.cancel_scope.cancel()
            assert memory.used == 0

    simulate(scenario)


async def send_for_ever(cluster: Cluster, key: Key, piece: int) -> None:
    upload = await cluster.put(key)
    assert not isinstance(upload, AlreadyHave)
    async with upload:
        await upload.begin(1 << 30)
        while True:
            await upload.send_all(memoryview(bytes(piece)))


def test_an_upload_ends_although_others_use_all_memory() -> None:
    async def scenario(world: Simulation) -> None:
        memory = Blocks(0)
        world.node("a", bandwidth=1e6)
        world.node("b", bandwidth=1e7)
        async with world.cluster(memory=memory) as cluster:
            assert isinstance(await put_in_blocks(cluster, sample(4 << 20)), Stored)
        assert memory.used == 0

    simulate(scenario)
