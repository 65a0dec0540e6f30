"""Nodes of a simulation: a Service with delays and faults."""

from __future__ import annotations

import pytest
import trio

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.testing.samples import fetch, key_of, sample, store
from p2pannex.testing.services import SERVICE_CHECKS, Check, check_service
from p2pannex.testing.simulator import Failing, SimulatedNode, Simulation, simulate


@pytest.mark.parametrize("check", SERVICE_CHECKS, ids=lambda check: check.__name__)
def test_a_node_without_faults_is_a_service(check: Check) -> None:
    async def scenario(_: Simulation) -> None:
        await check_service(lambda: SimulatedNode("a"), checks=[check])

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
