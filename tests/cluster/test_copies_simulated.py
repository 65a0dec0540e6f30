"""A cluster with a least number of copies: what PUT and CHECKPRESENT reply, for every state of its nodes."""

from __future__ import annotations

import itertools

import pytest
import trio

from p2pannex.cluster import Cluster, Node
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.service import AlreadyHave, NotStored, Stored
from p2pannex.testing.samples import key_of, offer
from p2pannex.testing.simulator import Failing, Simulation, simulate

CONTENT = b"content"
KEY = key_of(CONTENT)

STATES = ("has", "lacks", "errs", "dies")
WORLDS = list(itertools.product(STATES, repeat=3))


def world_of(world: Simulation, states: tuple[str, ...]) -> None:
    for name, state in zip("abc", states, strict=False):
        node = world.node(name)
        if state == "has":
            node.store.contents[KEY] = CONTENT
        elif state != "lacks":
            node.fail(Failing(state))


@pytest.mark.parametrize("least", [1, 2, 3])
@pytest.mark.parametrize("states", WORLDS)
def test_put(states: tuple[str, ...], least: int) -> None:
    """It succeeds only if enough nodes have the content, and names those that have it and those that failed."""

    async def scenario(world: Simulation) -> None:
        world_of(world, states)
        async with world.cluster(copies=least) as cluster:
            try:
                outcome: object = await offer(cluster, CONTENT, KEY)
            except (RemoteError, ConnectionLost) as error:
                outcome = error
        holders = {node.uuid for node in world.nodes if KEY in node.store.contents}
        failed = {node.name for node, state in zip(world.nodes, states, strict=True) if state in ("errs", "dies")}
        new = "lacks" in states
        if not holders:
            assert isinstance(outcome, RemoteError)
        elif not new and len(holders) < least:
            assert isinstance(outcome, RemoteError)
            assert f"but the cluster requires {least} copies" in str(outcome)
        else:
            expected = AlreadyHave if not new else Stored if len(holders) >= least else NotStored
            assert isinstance(outcome, expected)
            assert isinstance(outcome, AlreadyHave | Stored | NotStored)
            assert outcome.uuids == holders
            assert set(outcome.failures) == failed
            assert all(outcome.failures.values()), "each has a reason"
            if isinstance(outcome, NotStored):
                assert f"but the cluster requires {least} copies" in outcome.reason
        for name in failed:
            if isinstance(outcome, RemoteError):
                assert f"{name}: " in str(outcome)

    simulate(scenario)


@pytest.mark.parametrize("least", [1, 2, 3])
@pytest.mark.parametrize("states", WORLDS)
def test_check_present(states: tuple[str, ...], least: int) -> None:
    """Content with too few copies is absent as long as a node could store it: clients do not store what is present."""

    async def scenario(world: Simulation) -> None:
        world_of(world, states)
        async with world.cluster(copies=least) as cluster:
            try:
                reply: bool | None = await cluster.check_present(KEY)
            except RemoteError:
                reply = None
        has, lacks = states.count("has"), states.count("lacks")
        if has >= least:
            assert reply is True
        elif has:
            assert reply is (False if lacks else None)
        else:
            assert reply is (False if lacks == 3 else None)

    simulate(scenario)


def test_a_later_upload_stores_on_the_others() -> None:
    async def scenario(world: Simulation) -> None:
        world_of(world, ("lacks", "errs"))
        async with world.cluster(copies=2) as cluster:
            outcome = await offer(cluster, CONTENT, KEY)
            assert outcome == NotStored(frozenset(["uuid-of-a"]))
            assert outcome.reason.startswith("1 node has the content, but the cluster requires 2 copies; b: ")
            world.nodes[1].recover()
            await trio.sleep(100)
            assert await cluster.check_present(KEY) is False
            assert await offer(cluster, CONTENT, KEY) == Stored(frozenset(["uuid-of-a", "uuid-of-b"]))
            assert await cluster.check_present(KEY) is True
            assert isinstance(await offer(cluster, CONTENT, KEY), AlreadyHave)

    simulate(scenario)


def test_a_suspended_node_gets_requests_if_the_others_are_too_few() -> None:
    """It failed before, and is up again, but no probe has found that yet."""

    async def scenario(world: Simulation) -> None:
        world_of(world, ("has", "lacks", "lacks"))
        async with world.cluster(copies=2) as cluster:
            for node in cluster.nodes:
                if node.name != "a":
                    node.failed("it hung")
            assert [node.name for node in cluster.nodes if node.suspended] == ["b", "c"]
            assert await cluster.check_present(KEY) is False
            for node in cluster.nodes:
                if node.name != "a":
                    node.failed("it hung")
            assert isinstance(await offer(cluster, CONTENT, KEY), Stored)

    simulate(scenario)


def test_nodes_that_do_not_want_the_content_count_if_they_have_it() -> None:
    async def scenario(world: Simulation) -> None:
        world_of(world, ("has", "lacks", "lacks"))

        async def wanted(key: object, file: object, nodes: list) -> list:  # type: ignore[type-arg]
            return [node for node in nodes if node.name == "b"]

        async with world.cluster(copies=2, wanted=wanted) as cluster:
            assert await offer(cluster, CONTENT, KEY) == Stored(frozenset(["uuid-of-b"]))
            assert await offer(cluster, CONTENT, KEY) == AlreadyHave(frozenset(["uuid-of-b"]))
        async with world.cluster(copies=3, wanted=wanted) as cluster:
            with pytest.raises(RemoteError, match="2 nodes have the content, but the cluster requires 3 copies"):
                await offer(cluster, CONTENT, KEY)

    simulate(scenario)


@pytest.mark.parametrize("behind", [1, 2])
def test_what_is_behind_a_node_counts_as_one_copy(behind: int) -> None:
    async def scenario(world: Simulation) -> None:
        world_of(world, ("lacks", "lacks")[:behind])
        async with (
            world.cluster(name="inner") as inner,
            Cluster("outer", [Node("inner", inner)], copies=2) as outer,
        ):
            assert isinstance(await offer(outer, CONTENT, KEY), NotStored)

    simulate(scenario)
