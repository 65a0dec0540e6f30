"""The simulator does what it is told, at the time it is told, and the same again."""

from __future__ import annotations

import pytest
import trio

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.testing.samples import fetch, key_of, sample, store
from p2pannex.testing.services import SERVICE_CHECKS, Check, check_service
from p2pannex.testing.simulator import Failing, SimulatedClock, SimulatedNode, Simulation, simulate


@pytest.mark.parametrize("check", SERVICE_CHECKS, ids=lambda check: check.__name__)
def test_a_node_without_faults_is_a_service(check: Check) -> None:
    async def scenario(_: Simulation) -> None:
        await check_service(lambda: SimulatedNode("a"), checks=[check])

    simulate(scenario)


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


def test_clocks() -> None:
    async def scenario(_: Simulation) -> None:
        true = SimulatedClock()
        begin = true.monotonic()
        counting, standing = SimulatedClock(-5), SimulatedClock(7, counts_sleep=False)
        for _number in range(2):
            counting.sleep(10)
            standing.sleep(10)
            await trio.sleep(4)
            assert counting.monotonic() - true.monotonic() == -5
            with pytest.raises(ValueError, match="already"):
                standing.sleep(1)
            await trio.sleep(16)
        assert true.monotonic() - begin == 40
        assert counting.monotonic() - true.monotonic() == -5
        assert standing.monotonic() - true.monotonic() == 7 - 20
        assert standing.wall() - true.wall() == 7
        deadline = standing.true_time(standing.monotonic() + 3)
        assert deadline == trio.current_time() + 3
        standing.jump(-1e6)
        assert standing.monotonic() - true.monotonic() == 7 - 20 - 1e6

    simulate(scenario)


def test_conditions_take_their_time() -> None:
    async def scenario(world: Simulation) -> None:
        node = world.node("a", latency=1, seek=0.5, bandwidth=1000, disk=500)
        content = sample(2000)
        await store(node, content)
        # put and finish: 1 there, 0.5, 1 back; 2 on the line, 4 on the disk
        assert trio.current_time() == pytest.approx(2 * 2.5 + 2 + 4)
        begin = trio.current_time()
        assert await fetch(node, key_of(content)) == content
        assert trio.current_time() - begin == pytest.approx(2 * 2.5 + 2)
        node.partition()
        with trio.move_on_after(100) as scope:
            await node.check_present(key_of(content))
        assert scope.cancelled_caught
        node.heal()
        assert await node.check_present(key_of(content))

    simulate(scenario)


@pytest.mark.parametrize(("failing", "error"), [(Failing.DIE, ConnectionLost), (Failing.ERR, RemoteError)])
def test_a_node_fails_at_its_byte_and_recovers(failing: Failing, error: type[Exception]) -> None:
    async def scenario(world: Simulation) -> None:
        node = world.node("a")
        content = sample(100)
        key = key_of(content)
        node.fail(failing, 42)
        with pytest.raises(error):
            await store(node, content)
        assert node.taken == 42
        with pytest.raises(error):
            await node.check_present(key)
        node.recover()
        await store(node, content)
        assert node.taken == 100, "it went on where it failed"
        assert await fetch(node, key) == content

    simulate(scenario)
