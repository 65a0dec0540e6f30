"""Probes find out in the background whether a node replies again: one at a time, and less and less often."""

from __future__ import annotations

import itertools

import pytest
import trio

from p2pannex.cluster.health import LONGEST_BACK_OFF
from p2pannex.errors import RemoteError
from p2pannex.testing.samples import fetch, key_of, sample
from p2pannex.testing.simulator import Failing, Simulation, simulate

TIMEOUT = 4.0


@pytest.mark.parametrize("failing", [Failing.HANG, Failing.DIE])
@pytest.mark.parametrize("requests", [0, 1000])
def test_a_node_that_is_down_for_an_hour(failing: Failing, requests: int) -> None:
    """Probes become rare, and no request waits for the node, however many there are."""

    async def scenario(world: Simulation) -> None:
        a, _ = world.node("a"), world.node("b")
        absent = key_of(b"absent")
        async with world.cluster(timeout=TIMEOUT) as cluster:
            a.fail(failing)
            for _ in range(2):
                with pytest.raises(RemoteError):
                    await cluster.check_present(absent)
            down, probed = trio.current_time(), a.asked["check_present"]
            for _ in range(requests):
                await trio.sleep(3600 / requests)
                before = trio.current_time()
                with pytest.raises(RemoteError, match="a: no request was sent, because it failed"):
                    await cluster.check_present(absent)
                assert trio.current_time() == before
            await trio.sleep_until(down + 3600)
            assert 3600 / (LONGEST_BACK_OFF + TIMEOUT) <= a.asked["check_present"] - probed <= 130
            shown = world.times(failing.value, "a")
            assert all(later - earlier >= 0.5 for earlier, later in itertools.pairwise(shown[2:])), "one at a time"

    simulate(scenario)


@pytest.mark.parametrize("failing", [Failing.HANG, Failing.DIE])
def test_a_node_that_replies_again_is_found_without_a_request(failing: Failing) -> None:
    async def scenario(world: Simulation) -> None:
        a, _ = world.node("a"), world.node("b")
        content = sample(1000)
        key = key_of(content)
        a.store.contents[key] = content
        async with world.cluster(timeout=TIMEOUT) as cluster:
            a.fail(failing)
            for _ in range(2):
                with pytest.raises(RemoteError):
                    await fetch(cluster, key)
            await trio.sleep(1000)
            a.recover()
            await trio.sleep(LONGEST_BACK_OFF + TIMEOUT)
            assert cluster.nodes[0].healthy
            assert await fetch(cluster, key) == content

    simulate(scenario)


def test_a_node_that_was_discarded_is_not_probed() -> None:
    async def scenario(world: Simulation) -> None:
        a, b = world.node("a"), world.node("b")
        b.store.contents[key_of(b"")] = b""
        async with world.cluster(timeout=TIMEOUT) as cluster:
            a.fail(Failing.HANG)
            assert await cluster.check_present(key_of(b""))
            cluster.discard(cluster.nodes[0])
            await trio.sleep(1000)
            assert a.asked == {"check_present": 1}

    simulate(scenario)
