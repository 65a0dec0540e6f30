"""What a cluster replies to a request, for each combination of nodes that reply, refuse, fail or are suspended."""

from __future__ import annotations

import pytest

from p2pannex.cluster import Cluster, Node
from p2pannex.cluster.cluster import counts_as_nodes
from p2pannex.cluster.presence import NotAllAsked
from p2pannex.errors import RemoteError
from p2pannex.service import AlreadyHave, Removal, Stored
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import key_of, offer
from p2pannex.testing.simulator import Failing, Simulation, simulate
from tests.support.clocks import ManualClock

CONTENT = b"content"
KEY = key_of(CONTENT)


def full(world: Simulation, names: str = "abc") -> None:
    for name in names:
        world.node(name).store.contents[KEY] = CONTENT


def test_remove_goes_to_unhealthy_nodes_too() -> None:
    """A node that failed once, without costing time, is left out of uploads. It may have the content nevertheless."""

    async def scenario(world: Simulation) -> None:
        full(world)
        async with world.cluster() as cluster:
            cluster.nodes[1].failed("its connection was lost", costly=False)
            assert not cluster.nodes[1].healthy
            assert not cluster.nodes[1].suspended
            assert await cluster.remove(KEY) == Removal(True, frozenset(node.uuid for node in world.nodes))
        assert not any(KEY in node.store.contents for node in world.nodes)

    simulate(scenario)


def test_remove_does_not_succeed_without_a_suspended_node() -> None:
    async def scenario(world: Simulation) -> None:
        full(world)
        a, b, c = world.nodes
        async with world.cluster() as cluster:
            cluster.nodes[1].failed("it hung")
            removal = await cluster.remove(KEY)
            assert removal == Removal(False, frozenset({a.uuid, c.uuid}))
            assert "b: no request was sent" in removal.reason
        assert KEY in b.store.contents

    simulate(scenario)


def test_remove_names_only_what_it_is_gone_from() -> None:
    """One node keeps it locked, another fails: neither is named as one that it is gone from, and both are reasons."""

    async def scenario(world: Simulation) -> None:
        full(world)
        a, b, c = world.nodes
        async with world.cluster() as cluster:
            lock = await a.store.lock(KEY)
            c.fail(Failing.ERR)
            removal = await cluster.remove(KEY)
            assert removal == Removal(False, frozenset({b.uuid}))
            assert "a: the content is locked" in removal.reason
            assert "c: c refuses" in removal.reason
            c.recover()
            removal = await cluster.remove(KEY)
            assert removal == Removal(False, frozenset({b.uuid, c.uuid})), "one refusal is enough"
            await lock.release()
            assert (await cluster.remove(KEY)).ok

    simulate(scenario)


@pytest.mark.parametrize("failing", [None, *Failing])
def test_absent_only_if_every_node_says_so(failing: Failing | None) -> None:
    """`failing` None: the node is suspended, and gets no request."""

    async def scenario(world: Simulation) -> None:
        a, b = world.node("a"), world.node("b")
        async with world.cluster() as cluster:
            assert not await cluster.check_present(KEY)
            if failing is None:
                cluster.nodes[1].failed("it hung")
            else:
                b.fail(failing)
            with pytest.raises(NotAllAsked, match="b: ") as caught:
                await cluster.check_present(KEY)
            assert caught.value.silent == {b.uuid}
            assert caught.value.some_answered
            if failing is None:
                b.fail(Failing.ERR)
            a.fail(Failing.ERR)
            with pytest.raises(NotAllAsked) as caught:
                await cluster.check_present(KEY)
            assert caught.value.silent == {a.uuid, b.uuid}
            assert not caught.value.some_answered

    simulate(scenario)


def test_a_lock_of_whichever_node_can() -> None:
    async def scenario(world: Simulation) -> None:
        world.node("a")  # has no content to lock
        b, c = world.node("b"), world.node("c")
        c.store.contents[KEY] = CONTENT
        b.fail(Failing.ERR)
        async with world.cluster() as cluster:
            await (await cluster.lock(KEY)).aclose()
            assert not (await c.store.remove(KEY)).ok

    simulate(scenario)


@pytest.mark.parametrize("failing", Failing)
def test_nodes_that_fail_are_not_said_to_have_it_already(failing: Failing) -> None:
    async def scenario(world: Simulation) -> None:
        for name in "ab":
            world.node(name).fail(failing)
        async with world.cluster() as cluster:
            with pytest.raises(RemoteError, match="no node could store"):
                await cluster.put(KEY)
            assert not any(node.transfers for node in cluster.nodes)

    simulate(scenario)


def test_already_have_names_all_that_have_it() -> None:
    """Also those that a node names: it may be a gateway itself."""

    async def scenario(world: Simulation) -> None:
        full(world, "a")
        inner = Cluster("inner", [Node("x", store := MemoryStore("x"))])
        store.contents[KEY] = CONTENT
        async with inner, Cluster("outer", [Node("a", world.nodes[0]), Node("inner", inner)]) as outer:
            assert await outer.put(KEY) == AlreadyHave(frozenset({world.nodes[0].uuid, "inner", "x"}))

    simulate(scenario)


def test_a_cluster_that_counts_as_a_copy_names_no_nodes() -> None:
    async def scenario(world: Simulation) -> None:
        world.node("a")
        async with world.cluster(name_nodes=False) as cluster:
            assert await offer(cluster, CONTENT, KEY) == Stored()
            assert await cluster.put(KEY) == AlreadyHave()
            assert await cluster.remove(KEY) == Removal(True)

    simulate(scenario)


@pytest.mark.parametrize(
    ("uuid", "counts"),
    [
        ("acfe3b6c-9d4c-8c3f-a6f4-0f1d4b5b0c11", True),
        ("acfe3b6c-9d4c-4c3f-a6f4-0f1d4b5b0c11", False),
        ("bcfe3b6c-9d4c-8c3f-a6f4-0f1d4b5b0c11", False),
        ("acfe3b6c-9d4c-8c3f-a6f4-0f1d4b5b0c1", False),
    ],
)
def test_what_git_annex_knows_as_a_cluster(uuid: str, counts: bool) -> None:
    assert counts_as_nodes(uuid) is counts


@pytest.mark.parametrize("shows", [0.0, 0.999, 1.0, 12345.5])
async def test_the_timestamp_is_rounded_down(shows: float) -> None:
    assert await Cluster("cluster", clock=ManualClock(shows)).timestamp() == int(shows)


def test_an_upload_keeps_its_slots_until_it_is_done() -> None:
    async def scenario(world: Simulation) -> None:
        for name in "ab":
            world.node(name)
        async with world.cluster() as cluster:
            upload = await cluster.put(KEY)
            assert not isinstance(upload, AlreadyHave)
            assert [node.transfers for node in cluster.nodes] == [1, 1]
            async with upload:
                await upload.begin(len(CONTENT))
                await upload.send_all(memoryview(CONTENT))
                assert [node.transfers for node in cluster.nodes] == [1, 1]
                assert isinstance(await upload.finish(True), Stored)
                assert [node.transfers for node in cluster.nodes] == [0, 0], "though the upload is still open"
            assert [node.transfers for node in cluster.nodes] == [0, 0]

    simulate(scenario)


def test_uploads_leave_unhealthy_nodes_out() -> None:
    async def scenario(world: Simulation) -> None:
        for name in "ab":
            world.node(name)
        async with world.cluster() as cluster:
            cluster.nodes[0].failed("its connection was lost", costly=False)
            assert await offer(cluster, CONTENT, KEY) == Stored(frozenset({world.nodes[1].uuid}))
            for node in cluster.nodes:
                node.failed("its connection was lost", costly=False)
            outcome = await offer(cluster, b"more", key_of(b"more"))
            assert outcome == Stored(frozenset(node.uuid for node in world.nodes)), "there are no others"

    simulate(scenario)


def test_a_node_that_was_discarded_gets_no_request() -> None:
    """Also if it was one of two routes to a repository."""

    async def scenario(world: Simulation) -> None:
        node, other = world.node("a"), world.node("b")
        first, second = Node("first", node, cost=1), Node("second", node, cost=2)
        async with Cluster("cluster", [first, second, Node("b", other)]) as cluster:
            cluster.discard(first)
            assert [each.name for each in cluster.nodes] == ["second", "b"]
            cluster.discard(second)
            assert [each.name for each in cluster.nodes] == ["b"]
            await cluster.check_present(KEY)
            assert node.asked == {}

    simulate(scenario)


def test_views_bypass_what_their_cluster_bypasses() -> None:
    async def scenario(world: Simulation) -> None:
        full(world, "ab")
        a, b = world.nodes
        async with Cluster("cluster", [Node(each.name, each, via=[f"via-{each.name}"]) for each in (a, b)]) as cluster:
            view = cluster.bypassing(frozenset({"via-a"})).bypassing(frozenset({"via-b"}))
            assert not await view.check_present(KEY)
            assert a.asked == b.asked == {}

    simulate(scenario)
