"""A node's limit on its transfers: it is never exceeded, there is no deadlock, and every request is admitted."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pannex.cluster import Node
from p2pannex.cluster.admission import LONGEST_WAIT, Admission
from p2pannex.errors import RemoteError
from p2pannex.service import AlreadyHave
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import fetch, key_of, sample, store
from p2pannex.testing.simulator import Failing, Simulation, simulate


def nodes(*limits: int) -> list[Node]:
    return [Node(f"n{number}", MemoryStore(f"u{number}"), limit=limit) for number, limit in enumerate(limits)]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=st.integers(0, 1 << 20))
def test_limits_are_kept_and_every_request_is_admitted(data: st.DataObject, seed: int) -> None:
    """For any sets of nodes, any order, any duration, and any requests that are cancelled."""
    limits = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    some = st.sets(st.integers(0, len(limits) - 1), min_size=1)
    times = st.floats(0, 5)
    comers = data.draw(st.lists(st.tuples(some, times, times, st.none() | st.floats(0, 10)), max_size=25))

    async def scenario(world: Simulation) -> None:
        every = nodes(*limits)
        admission = Admission()
        came: list[int] = []

        async def come(number: int, chosen: set[int], at: float, stay: float, patience: float | None) -> None:
            wanted = [every[index] for index in chosen]
            await trio.sleep(at)
            with trio.move_on_after(patience if patience is not None else float("inf")):
                await admission.enter(wanted)
                try:
                    came.append(number)
                    assert all(node.transfers <= node.limit for node in every)
                    await trio.sleep(stay)
                finally:
                    for node in wanted:
                        admission.leave(node)

        with trio.fail_after(1000):
            async with trio.open_nursery() as nursery:
                for number, comer in enumerate(comers):
                    nursery.start_soon(come, number, *comer)
        assert {number for number, comer in enumerate(comers) if comer[3] is None} <= set(came)
        assert not admission._queue
        assert not any(node.transfers for node in every)

    simulate(scenario, seed)


def test_many_uploads_through_nodes_that_take_one_at_a_time() -> None:
    """Each wants several of the nodes: taken one by one, their places would be held in a circle."""

    async def scenario(world: Simulation) -> None:
        made = [world.node(name, latency=0.1, bandwidth=1e6) for name in "abcd"]
        turn = iter(range(1000))

        async def wanted(key: object, file: object, reachable: object) -> list[Node]:
            number = next(turn)
            ring = list(cluster.nodes)
            return [ring[(number + step) % 4] for step in ((0, 1), (1, 0), (0, 1, 2), (3,))[number % 4]]

        async with world.cluster(wanted=wanted) as cluster:
            for node in cluster.nodes:
                node.limit = 1
            with trio.fail_after(LONGEST_WAIT / 2):
                async with trio.open_nursery() as nursery:
                    for number in range(60):
                        nursery.start_soon(store, cluster, sample(20_000, number))
            assert sum(len(node.store.contents) for node in made) == 60 / 4 * (2 + 2 + 3 + 1)
            assert not any(node.transfers for node in cluster.nodes)

    simulate(scenario)


def test_a_node_never_has_more_transfers_than_it_may() -> None:
    async def scenario(world: Simulation) -> None:
        world.node("a", latency=0.01, bandwidth=1e5)
        world.node("b", latency=0.05, bandwidth=1e6)
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, *(node.transfers for node in cluster.nodes))
                assert all(node.transfers <= node.limit for node in cluster.nodes)
                await trio.sleep(0.003)

        async with world.cluster() as cluster, trio.open_nursery() as nursery:
            for node in cluster.nodes:
                node.limit = 2
            keys = [await store(cluster, sample(3000, number)) for number in range(3)]
            nursery.start_soon(watch)
            async with trio.open_nursery() as busy:
                for number in range(10):
                    busy.start_soon(store, cluster, sample(3000, 100 + number))
                    busy.start_soon(fetch, cluster, keys[number % 3])
            nursery.cancel_scope.cancel()
        assert most == 2

    simulate(scenario)


def test_a_node_whose_part_is_done_is_free_for_others() -> None:
    """b takes minutes. a has stored long before, and its only place is not kept until b is done."""

    async def scenario(world: Simulation) -> None:
        world.node("a")
        world.node("b", bandwidth=1000)
        async with world.cluster() as cluster, trio.open_nursery() as nursery:
            a, b = cluster.nodes
            a.limit = 1
            nursery.start_soon(store, cluster, sample(100_000))
            await trio.sleep(5)
            assert (a.transfers, b.transfers) == (0, 1)

    simulate(scenario)


def test_a_node_that_failed_is_free_for_others_while_the_rest_goes_on() -> None:
    async def scenario(world: Simulation) -> None:
        dying = world.node("a")
        world.node("b", bandwidth=1000)
        dying.fail(Failing.DIE, after=1000)
        async with world.cluster() as cluster, trio.open_nursery() as nursery:
            a, b = cluster.nodes
            nursery.start_soon(partial(store, cluster, sample(100_000), piece=5000))
            await trio.sleep(20)
            assert (a.transfers, b.transfers) == (0, 1)

    simulate(scenario)


def test_downloads_go_to_nodes_that_have_room() -> None:
    async def scenario(world: Simulation) -> None:
        made = [world.node(name) for name in "ab"]
        async with world.cluster() as cluster:
            key = await store(cluster, sample(100_000))
            near = cluster.nodes[0]
            near.cost, near.limit = 1, 1
            before = [node.asked.get("get", 0) for node in made]
            async with await cluster.get(key), await cluster.get(key):
                assert [node.asked.get("get", 0) - then for node, then in zip(made, before, strict=True)] == [1, 1]
            async with await cluster.get(key):
                assert made[0].asked["get"] - before[0] == 2

    simulate(scenario)


def test_waiting_has_an_end_in_words() -> None:
    async def scenario(world: Simulation) -> None:
        world.node("a")
        async with world.cluster() as cluster:
            cluster.nodes[0].limit = 1
            upload = await cluster.put(key_of(sample(10, 1)))
            assert not isinstance(upload, AlreadyHave)
            async with upload:
                began = trio.current_time()
                with (
                    pytest.raises(RemoteError, match="too many transfers at once, at a; try again later"),
                    trio.fail_after(2 * LONGEST_WAIT),
                ):
                    await cluster.put(key_of(sample(10, 2)))
                assert trio.current_time() - began == LONGEST_WAIT
            await store(cluster, b"now there is room")

    simulate(scenario)


def test_a_transfer_that_waits_is_not_overtaken() -> None:
    """It waits for `a`. Meanwhile others want `b` alone, which is free: its claim on it stands."""

    async def scenario(world: Simulation) -> None:
        a, b = (Node(name, MemoryStore(name), limit=1) for name in "ab")
        admission, order = Admission(), list[str]()

        async def transfer(name: str, nodes: list[Node]) -> None:
            await admission.enter(nodes)
            order.append(name)
            await trio.sleep(1)
            for node in nodes:
                admission.leave(node)

        async with trio.open_nursery() as nursery:
            for name, nodes in [("first", [a]), ("waits for both", [a, b]), ("later", [b]), ("last", [b])]:
                nursery.start_soon(transfer, name, nodes)
                await trio.sleep(0.1)
        assert order == ["first", "waits for both", "later", "last"]

    simulate(scenario)
