"""What a node that hangs at one kind of request costs the requests of a client: one timeout, then nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from p2pannex.cluster import Cluster
from p2pannex.errors import RemoteError
from p2pannex.service import AlreadyHave, Service
from p2pannex.testing.samples import fetch, key_of, sample
from p2pannex.testing.simulator import Conditions, Failing, Simulation, simulate
from tests.cluster.hanging import EVERYTHING, HELD, REQUESTS, TIMEOUT, HangsAt, put


def cluster_of(world: Simulation, hangs: frozenset[str]) -> tuple[HangsAt, Cluster]:
    a = HangsAt("a", conditions=Conditions(), report=world.note)
    a.hangs = hangs
    world.nodes.append(a)
    for name in "bc":
        world.node(name).store.contents[key_of(HELD)] = HELD
    return a, world.cluster(timeout=TIMEOUT)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.__name__)
def test_a_node_that_hangs_costs_one_request_one_timeout(request_: Callable[[Service, int], Awaitable[None]]) -> None:
    """The node is asked first, by cost, and hangs at everything. Only probes are sent to it from then on."""

    async def scenario(world: Simulation) -> None:
        a, made = cluster_of(world, EVERYTHING)
        async with made as cluster:
            took = []
            for number in range(40):
                started = trio.current_time()
                await request_(cluster, number)
                took.append(trio.current_time() - started)
                await trio.sleep(world.random.uniform(0, 20))
            assert took[0] <= TIMEOUT + 0.001, "beside the time to hash the content"
            assert took[1:] == [0.0] * 39
        assert sum(a.asked.get(what, 0) for what in EVERYTHING - {"check_present"}) <= 1, "besides probes"

    simulate(scenario)


@pytest.mark.parametrize("hangs", ["put", "finish"])
def test_a_node_that_hangs_at_uploads_alone(hangs: str) -> None:
    """It replies to every probe. The back-off grows nevertheless, so it costs one timeout a minute at most."""

    async def scenario(world: Simulation) -> None:
        _, made = cluster_of(world, frozenset({hangs}))
        async with made as cluster:
            start = trio.current_time()
            waited = number = 0
            while trio.current_time() < start + 3600:
                number += 1
                started = trio.current_time()
                await put(cluster, number)
                took = trio.current_time() - started
                assert took <= TIMEOUT + 0.001, "beside the time to hash the content"
                waited += took > 0
                await trio.sleep(2)
            assert waited <= 8 + 3600 / 30

    simulate(scenario)


def test_a_suspended_node_that_alone_has_the_content_is_never_taken_for_one_that_lacks_it() -> None:
    async def scenario(world: Simulation) -> None:
        a, made = cluster_of(world, frozenset({"put"}))
        a.store.contents[key := key_of(b"only here")] = b"only here"
        async with made as cluster:
            await put(cluster, 0)
            for request in (cluster.check_present, cluster.get, cluster.lock):
                with pytest.raises(RemoteError, match="a: no request was sent"):
                    await request(key)
            removal = await cluster.remove(key)
            assert not removal.ok
            assert "a: no request was sent" in removal.reason
            assert a.store.contents[key] == b"only here"
            await trio.sleep(1)
            assert await cluster.check_present(key), "a probe found that it replies"

    simulate(scenario)


def test_suspended_nodes_get_requests_if_all_are_suspended() -> None:
    async def scenario(world: Simulation) -> None:
        content = sample(1000)
        key = key_of(content)
        for name in "ab":
            world.node(name).store.contents[key] = content
        async with world.cluster(timeout=TIMEOUT) as cluster:
            for node in world.nodes:
                node.fail(Failing.HANG)
            with pytest.raises(RemoteError):
                await cluster.check_present(key)
            await trio.sleep(1000)
            for node in world.nodes:
                node.recover()
            assert all(node.suspended for node in cluster.nodes)
            assert await cluster.check_present(key)
            assert await fetch(cluster, key) == content
            assert isinstance(await cluster.put(key), AlreadyHave)
            assert (await cluster.remove(key)).ok

    simulate(scenario)


def test_a_suspended_node_continues_a_download_that_would_end_otherwise() -> None:
    async def scenario(world: Simulation) -> None:
        content = sample(3_000_000)
        key = key_of(content)
        a, b = world.node("a"), world.node("b")
        for node in (a, b):
            node.store.contents[key] = content
        world.node("c")  # replies, and does not have the content: not all that are left are suspended
        async with world.cluster(timeout=TIMEOUT) as cluster:
            b.fail(Failing.HANG)
            cluster.nodes[1].failed()
            await trio.sleep(1000)
            assert cluster.nodes[1].suspended
            b.recover()
            a.fail(Failing.DIE, 1_000_000)
            assert await fetch(cluster, key) == content

    simulate(scenario)
