"""The simulator does what it is told, at the time it is told, and the same again."""

from __future__ import annotations

import pytest
import trio

from p2pannex.errors import RemoteError
from p2pannex.testing.samples import sample, store
from p2pannex.testing.simulator import Failing, Simulation, simulate


async def eventful(world: Simulation) -> list[tuple[float, str, str]]:
    for name in "abc":
        world.node(name, latency=world.random.random(), bandwidth=1000).fail(Failing.DIE, world.random.randint(0, 3000))
    world.nodes[0].recover()
    async with world.cluster() as cluster:
        await store(cluster, sample(2000))
        await trio.sleep(3)
        await store(cluster, sample(1000, 1), piece=100)
    return world.trace


def test_a_seed_is_lived_through_again() -> None:
    assert len(simulate(eventful, 5)) > 5
    assert simulate(eventful, 5) == simulate(eventful, 5)
    assert simulate(eventful, 5) != simulate(eventful, 6)


async def unlucky(_: Simulation) -> None:
    raise RemoteError("no")


def test_what_fails_names_its_seed() -> None:
    with pytest.raises(RemoteError) as caught:
        simulate(unlucky, 17)
    assert caught.value.__notes__ == ["in the simulation with seed 17; to run it again: simulate(unlucky, 17)"]
