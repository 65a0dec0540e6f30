"""No content is removed after its deadline by true time, whatever the clocks of gateway and nodes show."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio

from p2pannex.cluster import Cluster, Node
from p2pannex.service import Service
from p2pannex.testing.samples import key_of
from p2pannex.testing.serving import served
from p2pannex.testing.simulated_node import Failing
from p2pannex.testing.simulator import SimulatedClock, SimulatedNode, Simulation, simulate
from tests.cluster.deadlines import MILLION, REMOVED, setting


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


async def through_gateways(world: Simulation) -> bool:
    """A removal through gateways of gateways, each with a clock of its own; whether it was done."""
    random = world.random
    node = world.node("a", skew=random.uniform(-MILLION, MILLION), latency=random.uniform(0, 2))
    key = key_of(b"content")
    node.store.contents[key] = b"content"
    async with AsyncExitStack() as stack:
        service: Service = await stack.enter_async_context(served(node, version=random.choice([3, 4])))
        clocks = [SimulatedClock(random.uniform(-MILLION, MILLION)) for _ in range(random.randint(2, 5))]
        for number, clock in enumerate(clocks):
            gateway = Cluster(
                f"cluster-{number}", [Node("a", service, timeout=1000)], gateway=f"g{number}", clock=clock
            )
            await stack.enter_async_context(gateway)
            service = await stack.enter_async_context(served(gateway, timeout=1000))
        allowed, pause = random.randint(5, 40), random.uniform(0, 30)
        before = await service.timestamp() + allowed
        deadline = clocks[-1].true_time(before)
        await trio.sleep(pause)
        node.clock.jump(random.uniform(-MILLION, MILLION))
        removal = await service.remove(key, before=before)
    times = world.times(REMOVED)
    assert removal.ok is bool(times)
    assert all(time < deadline for time in times)
    assert not times or pause < allowed
    return removal.ok


def test_deadlines_through_gateways_of_gateways() -> None:
    done = [simulate(through_gateways, seed) for seed in range(60)]
    assert 10 < sum(done) < 50, "some are done and some are not"


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


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_after_the_deadline_no_node_removes(version: int) -> None:
    """And content that is absent counts as removed all the same, but not if the node may be a cluster (version 2)."""

    async def scenario(world: Simulation) -> None:
        node = world.node("a", skew=MILLION)
        node.store.contents[present := key_of(b"present")] = b"present"
        async with served(node, version=version) as remote, Cluster("c", [Node("a", remote)]) as cluster:
            for late in (0, 1, 1000):
                before = max(await cluster.timestamp() - late, 0)
                assert not (await cluster.remove(present, before=before)).ok
                assert (await cluster.remove(key_of(b"absent"), before=before)).ok is (version != 2)
            assert "remove" not in node.asked or version >= 3, "without a deadline it would be removed"
        assert present in node.store.contents

    simulate(scenario)


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize("down", [False, True])
def test_content_of_a_cluster_with_too_few_copies_is_not_gone(down: bool, version: int) -> None:
    """A node that is a cluster replies to CHECKPRESENT that content is absent although one of its nodes has it.

    With `down`, that node does not reply to the removal either.
    """

    async def scenario(world: Simulation) -> None:
        holder, empty = world.node("holder"), world.node("empty")
        holder.store.contents[key := key_of(b"content")] = b"content"
        async with (
            Cluster("inner", [Node("holder", holder), Node("empty", empty)], copies=2) as inner,
            served(inner, version=version) as remote,
            Cluster("outer", [Node("inner", remote)]) as outer,
            Cluster("strict", [Node("inner", remote)], require_deadline=True) as strict,
        ):
            assert not await outer.check_present(key)
            if down:
                holder.fail(Failing.DIE)
            for cluster in (outer, strict):
                removal = await cluster.remove(key, before=await cluster.timestamp())
                assert not removal.ok
                assert holder.uuid not in removal.uuids
                assert "inner" not in removal.uuids
            if version < 3:
                assert not (await strict.remove(key, before=await strict.timestamp() + 1000)).ok
        assert key in holder.store.contents

    simulate(scenario)
