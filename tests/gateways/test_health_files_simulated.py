"""What a node that hangs costs the requests of many processes, one after the other and at the same time.

Each process is a cluster of its own over the same nodes, with the same files of `HealthFiles` on a real disk.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from p2pannex.cluster import Cluster, Node
from p2pannex.cluster.health import LONGEST_BACK_OFF
from p2pannex.cluster.presence import NotAllAsked
from p2pannex.cluster.probes import OTHERS_PROBE, PATIENCE
from p2pannex.errors import RemoteError
from p2pannex.gateways.health_files import REMEMBERED, HealthFiles
from p2pannex.service import NotLocked, Service, Stored
from p2pannex.testing.samples import fetch, key_of, offer, sample, store
from p2pannex.testing.simulator import Conditions, Failing, SimulatedClock, Simulation, simulate
from tests.cluster.hanging import (
    EVERYTHING,
    HELD,
    REQUESTS,
    TIMEOUT,
    HangsAt,
    check_held,
    get_held,
    lock_held,
    put,
    remove,
    remove_before,
)

Request = Callable[[Service, int], Awaitable[None]]


class Boot:
    """The clock of a machine that booted before the simulation began."""

    def monotonic(self) -> float:
        return trio.current_time() + 12345.678

    def wall(self) -> float:
        raise AssertionError("the wall clock was read")


class Processes:
    """Processes of one gateway on one machine."""

    def __init__(self, world: Simulation, path: Path) -> None:
        self._world = world
        self._path = path / "health"

    @asynccontextmanager
    async def start(self) -> AsyncIterator[Cluster]:
        files = HealthFiles(str(self._path), lambda path: os.makedirs(path, exist_ok=True), Boot())
        async with Cluster("uuid-of-cluster", clock=SimulatedClock()) as cluster:
            for each in self._world.nodes:
                node = Node(each.name, each, timeout=TIMEOUT)
                node.health.memory = files.of(each.uuid)
                cluster.add(node)
            yield cluster


def world_of(world: Simulation, hangs: frozenset[str]) -> HangsAt:
    """Three nodes: a, which is used first and hangs, and two that hold `HELD`."""
    a = HangsAt("a", conditions=Conditions(), report=world.note)
    a.hangs = hangs
    world.nodes.append(a)
    for name in "bc":
        world.node(name).store.contents[key_of(HELD)] = HELD
    return a


async def timed(service: Service, request: Request, number: int) -> float:
    started = trio.current_time()
    await request(service, number)
    return trio.current_time() - started


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.__name__)
def test_a_node_that_hangs_costs_all_processes_one_timeout(tmp_path: Path, request_: Request) -> None:
    """Each process sends one request. After the first, one of them waits for a probe, briefly, in each back-off."""

    async def scenario(world: Simulation) -> None:
        a = world_of(world, EVERYTHING)
        processes = Processes(world, tmp_path)
        took: list[float] = []
        start = trio.current_time()
        while trio.current_time() < start + 0.9 * REMEMBERED:
            async with processes.start() as service:
                took.append(await timed(service, request_, len(took)))
            await trio.sleep(world.random.uniform(0, 20))
        assert took[0] <= TIMEOUT + 0.001, "beside the time to hash the content"
        assert all(each <= PATIENCE for each in took[1:])
        assert sum(each > 0 for each in took[1:]) <= 7 + REMEMBERED / (LONGEST_BACK_OFF / 2)
        if request_ in (check_held, get_held, lock_held):
            assert sum(took[1:]) == 0, "the other nodes have the content"
        assert sum(a.asked.get(what, 0) for what in EVERYTHING - {"check_present"}) <= 1, "besides probes"

    simulate(scenario)


@pytest.mark.parametrize(
    ("hangs", "request_"),
    [
        ("put", put),
        ("finish", put),
        ("get", get_held),
        ("lock", lock_held),
        ("remove", remove),
        ("timestamp", remove_before),
    ],
)
def test_a_node_that_replies_to_probes_costs_one_timeout_a_minute(
    tmp_path: Path, hangs: str, request_: Request
) -> None:
    """The length of the back-off is remembered as well."""

    async def scenario(world: Simulation) -> None:
        world_of(world, frozenset({hangs}))
        processes = Processes(world, tmp_path)
        start = trio.current_time()
        waited = number = 0
        while trio.current_time() < start + 3600:
            number += 1
            async with processes.start() as service:
                try:
                    took = await timed(service, request_, number)
                except AssertionError:  # a removal, from all nodes but this one
                    took = 0
            assert took <= TIMEOUT + 0.001, "beside the time to hash the content"
            waited += took > 0
            await trio.sleep(5)
        assert waited <= 8 + 3600 / (LONGEST_BACK_OFF / 2)

    simulate(scenario)


@pytest.mark.parametrize("failing", [Failing.HANG, Failing.DIE])
def test_short_processes_find_a_node_that_replies_again(tmp_path: Path, failing: Failing) -> None:
    """Each ends as soon as its own request is done, so no probe has long."""

    async def scenario(world: Simulation) -> None:
        a, b = world.node("a", latency=0.2), world.node("b", latency=0.2)
        processes = Processes(world, tmp_path)
        a.fail(failing)
        for number in range(30):
            async with processes.start() as service:
                await store(service, sample(1000, number))
            await trio.sleep(3)
        a.recover()
        recovered = trio.current_time()
        while not a.store.contents:
            async with processes.start() as service:
                await store(service, sample(1000, 100 + len(b.store.contents)))
            await trio.sleep(3)
        assert trio.current_time() < recovered + LONGEST_BACK_OFF + 10

    simulate(scenario)


def test_one_process_at_a_time_probes_a_node(tmp_path: Path) -> None:
    async def scenario(world: Simulation) -> None:
        a = world_of(world, EVERYTHING)
        processes = Processes(world, tmp_path)
        async with processes.start() as first, processes.start() as second, processes.start() as third:
            with pytest.raises(NotAllAsked):
                await first.check_present(key_of(b"absent"))
            for cluster in (second, third):
                cluster.nodes[0].refresh()
                assert cluster.nodes[0].suspended
            probed = a.asked["check_present"]
            await trio.sleep(3600)
            asked = a.asked["check_present"] - probed
            assert 3600 / (LONGEST_BACK_OFF + TIMEOUT + OTHERS_PROBE) <= asked <= 8 + 3600 / (LONGEST_BACK_OFF / 2)
            a.hangs = frozenset()
            await trio.sleep(LONGEST_BACK_OFF + TIMEOUT)
            await trio.sleep(2 * OTHERS_PROBE)
            for cluster in (first, second, third):
                cluster.nodes[0].refresh()
                assert cluster.nodes[0].healthy

    simulate(scenario)


def test_two_lost_connections_in_two_processes_suspend_a_node(tmp_path: Path) -> None:
    async def scenario(world: Simulation) -> None:
        a, _ = world.node("a"), world.node("b")
        a.fail(Failing.DIE)
        processes = Processes(world, tmp_path)
        for suspended in (False, True):
            async with processes.start() as cluster:
                with pytest.raises(RemoteError):
                    await cluster.check_present(key_of(b"absent"))
                assert cluster.nodes[0].suspended is suspended

    simulate(scenario)


def test_healthy_nodes_cost_one_look_at_the_start(tmp_path: Path) -> None:
    """No request reads or writes the memory, whatever it is, as long as no node fails."""

    async def scenario(world: Simulation) -> None:
        content = sample(1000)
        key = key_of(content)
        a = world.node("a")
        reads = 0

        class Watched:
            def read(self) -> None:
                nonlocal reads
                reads += 1

            def write(self, found: object) -> None:
                raise AssertionError("written")

            def claim(self):  # type: ignore[no-untyped-def]
                raise AssertionError("claimed")

        async with Cluster("uuid-of-cluster", clock=SimulatedClock()) as cluster:
            node = Node("a", a)
            node.health.memory = Watched()
            cluster.add(node)
            for _ in range(10):
                await store(cluster, content)
                assert await cluster.check_present(key)
                assert await fetch(cluster, key) == content
                await (await cluster.lock(key)).release()
                await trio.sleep(1000)
                assert (await cluster.remove(key)).ok
        assert reads == 1

    simulate(scenario)


@pytest.mark.parametrize("due", [False, True])
def test_a_remembered_failure_never_makes_a_request_succeed(tmp_path: Path, due: bool) -> None:
    """The content is on the suspended node alone. No request reports that it is absent, gone, or locked."""

    async def scenario(world: Simulation) -> None:
        a = world_of(world, frozenset({"check_present"}))
        a.store.contents[key := key_of(b"only here")] = b"only here"
        processes = Processes(world, tmp_path)
        async with processes.start() as cluster:
            with pytest.raises(NotAllAsked):
                await cluster.check_present(key)
        if due:
            await trio.sleep(2)
        async with processes.start() as cluster:
            before = await cluster.timestamp() + 100
            for removal in (await cluster.remove(key), await cluster.remove(key, before=before)):
                assert not removal.ok
                assert "uuid-of-a" not in removal.uuids
                assert "a: no request was sent" in removal.reason
            with pytest.raises(NotLocked, match="a: no request was sent"):
                await cluster.lock(key)
            with pytest.raises(NotAllAsked, match="a: no request was sent"):
                await cluster.check_present(key)
            with pytest.raises(RemoteError, match="a: no request was sent"):
                await cluster.get(key)
            outcome = await offer(cluster, b"new content", key_of(b"new content"))
            assert outcome == Stored(frozenset({"uuid-of-b", "uuid-of-c"}))
        assert a.store.contents == {key: b"only here"}

    simulate(scenario)


@pytest.mark.parametrize("request_", ["check_present", "get", "lock", "remove", "put"])
def test_requests_of_a_new_process_use_a_node_that_replies_again(tmp_path: Path, request_: str) -> None:
    """Even the first one, which waits for the probe."""

    async def scenario(world: Simulation) -> None:
        a = world_of(world, frozenset({"check_present"}))
        a.conditions.latency = 0.1
        a.store.contents[key := key_of(b"only here")] = b"only here"
        processes = Processes(world, tmp_path)
        async with processes.start() as cluster:
            with pytest.raises(NotAllAsked):
                await cluster.check_present(key)
        await trio.sleep(2)
        a.hangs = frozenset()
        async with processes.start() as cluster:
            if request_ == "check_present":
                assert await cluster.check_present(key)
            elif request_ == "get":
                assert await fetch(cluster, key) == b"only here"
            elif request_ == "lock":
                await (await cluster.lock(key)).release()
            elif request_ == "remove":
                assert (await cluster.remove(key)).ok
            else:
                await store(cluster, b"new content")
                assert a.store.contents[key_of(b"new content")] == b"new content"

    simulate(scenario)
