"""Whatever subset of nodes errs, hangs or dies at whatever byte: what is there can be read."""

from __future__ import annotations

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pannex.cluster.node import NODE_TIMEOUT
from p2pannex.service import AlreadyHave, Removal, Stored
from p2pannex.testing.samples import fetch, key_of, sample
from p2pannex.testing.simulator import Failing, Simulation, simulate
from tests.cluster.simulated_client import seen_by_a_client


@given(
    nodes=st.integers(1, 5),
    survivor=st.integers(0, 4),
    how=st.lists(st.sampled_from(Failing), min_size=5, max_size=5),
    through_protocol=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_one_survivor(nodes: int, survivor: int, how: list[Failing], through_protocol: bool, seed: int) -> None:
    survivor %= nodes

    async def scenario(world: Simulation) -> None:
        content = sample(5000, seed)
        key = key_of(content)
        for number in range(nodes):
            node = world.node(str(number), latency=0.1)
            node.store.contents[key] = content
            if number != survivor:
                node.fail(how[number])
        async with seen_by_a_client(world, through_protocol=through_protocol) as service:
            for _ in range(4):
                assert await service.check_present(key)
                assert await fetch(service, key) == content
                assert await fetch(service, key, 4321) == content[4321:]
                await trio.sleep(world.random.choice([0, 1, 30, 100]))
            assert await service.remove(key) == Removal(nodes == 1, frozenset({world.nodes[survivor].uuid}))

    simulate(scenario, seed)


def test_a_partition_heals() -> None:
    """What is cut off for less than the timeout is waited for; for longer, it is left out."""

    async def scenario(world: Simulation) -> None:
        a, b = world.node("a"), world.node("b")
        async with world.cluster() as cluster, trio.open_nursery() as nursery:
            for pause in (10, 50):
                content = sample(100, pause)
                b.partition()

                async def heal(pause: float = pause) -> None:
                    await trio.sleep(pause)
                    b.heal()

                nursery.start_soon(heal)
                upload = await cluster.put(key_of(content))
                assert not isinstance(upload, AlreadyHave)
                async with upload:
                    await upload.begin(100)
                    await upload.send_all(memoryview(content))
                    outcome = await upload.finish(True)
                expected = {a.uuid, b.uuid} if pause < NODE_TIMEOUT else {a.uuid}
                assert outcome == Stored(frozenset(expected))

    simulate(scenario)
