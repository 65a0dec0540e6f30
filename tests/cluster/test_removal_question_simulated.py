"""What happens between a gateway's question for a node's clock and its removal: sleep, restarts, other requests."""

from __future__ import annotations

import contextlib
import itertools
import math

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pannex.cluster import Cluster, Node
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.testing.samples import key_of
from p2pannex.testing.serving import served
from p2pannex.testing.simulator import Failing, SimulatedClock, Simulation, simulate
from tests.cluster.deadlines import MILLION, REMOVED, Connections, setting


@given(
    asleep=st.floats(0, 5000),
    falls_asleep=st.floats(0, 12),
    counts_sleep=st.booleans(),
    allowed=st.integers(1, 40),
)
@settings(max_examples=80, deadline=None)
def test_sleep_errs_by_its_length_at_most(asleep: float, falls_asleep: float, counts_sleep: bool, allowed: int) -> None:
    """A node that sleeps between the gateway's question and its removal: late by the sleep at most, and not at all
    with a clock that goes on in sleep."""

    async def scenario(world: Simulation) -> None:
        node = world.node("a", latency=2, seek=1, counts_sleep=counts_sleep)
        key = key_of(b"content")
        node.store.contents[key] = b"content"

        async def sleep_later() -> None:
            await trio.sleep(falls_asleep)
            node.clock.sleep(asleep)

        async with setting(world, [4], skew=MILLION, client_version=4) as it, trio.open_nursery() as nursery:
            before = await it.client.timestamp() + allowed
            deadline = it.clock.true_time(before)
            nursery.start_soon(sleep_later)
            try:
                await it.client.remove(key, before=before)
            finally:
                await trio.sleep(asleep + 100)  # what reached the node before it slept is done when it wakes
        late = [time - deadline for time in world.times(REMOVED)]
        assert all(seconds < (0 if counts_sleep else asleep) for seconds in late), late

    simulate(scenario)


def test_the_bound_is_met() -> None:
    """The error by sleep is real: it is stated, not overstated."""

    async def scenario(world: Simulation) -> float:
        node = world.node("a", latency=2, counts_sleep=False)
        key = key_of(b"content")
        node.store.contents[key] = b"content"
        async with setting(world, [4], skew=0, client_version=4) as it, trio.open_nursery() as nursery:
            before = await it.client.timestamp() + 10

            async def sleep_later() -> None:
                await trio.sleep(5)  # the question takes until 4, the request is on its way until 6
                node.clock.sleep(1000)

            nursery.start_soon(sleep_later)
            assert not (await it.client.remove(key, before=before)).ok, "no answer came in time"
            await trio.sleep(2000)
        (time,) = world.times(REMOVED)
        return time

    assert math.isclose(simulate(scenario), 1005)


@given(nodes=st.integers(1, 5), busy=st.booleans(), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_the_question_and_the_removal_are_adjacent(nodes: int, busy: bool, seed: int) -> None:
    """Sleep does harm only between a node's answer to the question for its clock and its removal. So nothing lies
    between the two but the way there and back: no other question to that node, and no wait, neither for other nodes
    nor for other clients."""

    async def scenario(world: Simulation) -> None:
        random = world.random
        key = key_of(b"content")
        for number in range(nodes):
            node = world.node(str(number), latency=random.uniform(0, 3), seek=random.uniform(0, 3))
            node.store.contents[key] = b"content"
        if nodes > 1:
            world.nodes[-1].fail(random.choice(list(Failing)))
        async with setting(world, [4] * nodes, skew=0, client_version=4) as it, trio.open_nursery() as nursery:

            async def another() -> None:
                while True:
                    await trio.sleep(random.uniform(0, 1))
                    with contextlib.suppress(RemoteError, ConnectionLost):
                        await it.client.remove(key_of(b"another"))

            if busy:
                for _ in range(3):
                    nursery.start_soon(another)
            await it.client.remove(key, before=await it.client.timestamp() + 1000)
            nursery.cancel_scope.cancel()
        for node in world.nodes[: nodes - 1] or world.nodes:
            events = [(time, event) for time, name, event in world.trace if name == node.name]
            (asked,) = [number for number, (_, event) in enumerate(events) if event.startswith("timestamp")]
            removed = [number for number, (_, event) in enumerate(events) if number > asked and event == REMOVED]
            if not busy:
                assert removed == [asked + 1]
            apart = [events[number][0] - events[asked][0] for number in removed]
            way = 2 * node.conditions.latency + node.conditions.seek
            assert any(math.isclose(seconds, way, abs_tol=1e-6) for seconds in apart), (apart, way)

    simulate(scenario, seed)


def test_no_other_request_comes_between_timestamp_and_removal() -> None:
    """Where many wait for the only connection to a node, too: it is not given away between the two."""

    async def scenario(world: Simulation) -> None:
        node = world.node("a", latency=0.1)
        async with (
            served(node, connections=1) as remote,
            Cluster("cluster", [Node("a", remote)], clock=SimulatedClock()) as cluster,
            trio.open_nursery() as nursery,
        ):
            before = await cluster.timestamp() + 1000

            async def others() -> None:
                for number in range(10):
                    await cluster.check_present(key_of(b"%d" % number))

            async def remove(number: int) -> None:
                assert (await cluster.remove(key_of(b"%d" % number), before=before)).ok

            for number in range(5):
                nursery.start_soon(others)
                nursery.start_soon(remove, number)
        events = [event.split(":")[0] for _, _, event in world.trace]
        followers = [after for event, after in itertools.pairwise(events) if event == "timestamp"]
        assert followers == ["remove"] * 5

    simulate(scenario)


def test_a_node_that_restarts_between_the_question_and_the_removal() -> None:
    """Its clock may have begun again at zero, and the deadline be far ahead by it: it is not asked to remove."""

    async def scenario(world: Simulation) -> None:
        node = world.node("a")
        key = key_of(b"content")
        node.store.contents[key] = b"content"
        connections = Connections()
        async with served(node, peers=connections.make) as remote:
            await remote.timestamp()
            await connections.cut()
            async with remote.pinned() as service:
                now = await service.timestamp()  # over a new connection, since nothing was said before
                await connections.cut()
                node.clock.jump(-MILLION)
                with pytest.raises(ConnectionLost):
                    await service.remove(key, before=now + 1)
            assert key in node.store.contents
            assert "remove" not in node.asked
            assert await remote.check_present(key), "the remote goes on as before"
            assert remote._pool._slots.value == remote._connections

    simulate(scenario)
