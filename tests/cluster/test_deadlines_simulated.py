"""No content is removed after its deadline by true time, whatever the clocks of gateway and nodes show."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pannex.cluster import Cluster, Node
from p2pannex.keys import Key
from p2pannex.protocol.errors import ConnectionLost, RemoteError
from p2pannex.service import Removal, Service
from p2pannex.testing.pair import PEERS, Pair
from p2pannex.testing.samples import key_of
from p2pannex.testing.serving import served
from p2pannex.testing.simulator import Failing, SimulatedClock, SimulatedNode, Simulation, simulate

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


async def skewed_and_jumping(world: Simulation) -> tuple[int, int]:
    """How often there was plenty of time, and how often there was none."""
    random = world.random
    versions = [random.choice([3, 4]) for _ in range(random.randint(1, 4))]
    for number in range(len(versions)):
        world.node(
            str(number),
            skew=random.uniform(-MILLION, MILLION),
            latency=random.choice([0.0, random.uniform(0, 3)]),
            seek=random.choice([0.0, random.uniform(0, 3)]),
        )
    plenty = none = 0

    def jump() -> None:
        for node in world.nodes:
            if random.random() < 0.5:
                node.clock.jump(random.uniform(-MILLION, MILLION))

    async with setting(
        world, versions, skew=random.uniform(-MILLION, MILLION), client_version=random.choice([3, 4])
    ) as it:
        for number in range(6):
            allowed, pause = random.randint(0, 30), random.uniform(0, 30)
            key = key_of(b"content %d" % number)
            removed = await it.removes_in_time(key, allowed, pause=pause, between=jump)
            # A question and an answer of at most 3 s each way and 3 s of seeking, one more way and seeking; and two
            # roundings to whole seconds.
            if allowed - pause > 5 * 3 + 2:
                plenty += 1
                assert removed, "there was plenty of time"
            if pause > allowed:
                none += 1
                assert not removed, "there was no time left"
            for node in world.nodes:
                node.clock.jump(-node.clock.skew)  # jumps are of a million, not of the sum of many
    return plenty, none


def test_no_removal_after_the_deadline() -> None:
    runs = [simulate(skewed_and_jumping, seed) for seed in range(60)]
    assert sum(plenty for plenty, _ in runs) > 20, "removals that must succeed are among them"
    assert sum(none for _, none in runs) > 20, "and such that must not"


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("skew", [-MILLION, -0.5, 0.0, 0.999, MILLION])
def test_the_last_moment(skew: float, version: int) -> None:
    """Removed up to two seconds before the deadline, and never at it, by any fraction of a second."""

    async def scenario(world: Simulation) -> None:
        world.node("a", skew=0.3)
        async with setting(world, [version], skew=skew, client_version=version) as it:
            for tenth in range(60):
                key = key_of(b"%d" % tenth)
                pause = tenth / 10
                removed = await it.removes_in_time(key, 5, pause=pause, between=lambda: None)
                if pause < 5 - 2:
                    assert removed
                if pause >= 5:
                    assert not removed

    simulate(scenario)


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


@pytest.mark.parametrize("skew", [-MILLION, MILLION])
def test_without_deadlines_the_request_leaves_in_time(skew: float) -> None:
    """A node of a version below 3: late by the request's way at most, and not asked with `require_deadline`."""

    async def scenario(world: Simulation) -> None:
        latency = 3
        node: SimulatedNode = world.node("a", latency=latency)
        clock = SimulatedClock(skew)
        async with (
            served(node, version=2) as remote,
            Cluster("any", [Node("a", remote)], clock=clock) as cluster,
            Cluster("strict", [Node("a", remote)], clock=clock, require_deadline=True) as strict,
        ):
            for pause in (0.0, 1.5, 3.5):
                key = key_of(b"%f" % pause)
                node.store.contents[key] = b""
                before = await cluster.timestamp() + 3
                deadline = clock.true_time(before)
                await trio.sleep(pause)
                late = trio.current_time() >= deadline
                removal = await cluster.remove(key, before=before)
                assert removal.ok is not late
                assert (key in node.store.contents) is late
                assert all(time < deadline + latency for time in world.times(REMOVED))
            node.store.contents[key] = b""
            assert not (await strict.remove(key, before=await strict.timestamp() + 1000)).ok
            assert key in node.store.contents

    simulate(scenario)
