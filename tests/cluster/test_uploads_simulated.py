"""Uploads: what nodes get, and what the outcome names, whatever each of them kept, refuses, or does in the middle."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from p2pannex.cluster import Cluster
from p2pannex.cluster.downloads import TRANSFER_CLOSE_TIMEOUT
from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, NotStored, Stored, Upload
from p2pannex.testing.samples import key_of, offer, sample, send_pieces
from p2pannex.testing.simulator import NODE_TIMEOUT, Failing, Simulation, simulate

CONTENT = b"content"
KEY = key_of(CONTENT)


@asynccontextmanager
async def uploading(world: Simulation, key: Key) -> AsyncIterator[tuple[Cluster, Upload]]:
    """A cluster of two nodes, and an upload into it that has not begun."""
    for name in "ab":
        world.node(name)
    async with world.cluster() as cluster:
        upload = await cluster.put(key)
        assert not isinstance(upload, AlreadyHave)
        yield cluster, upload


@pytest.mark.parametrize("size", [100, 1_000_000])
def test_content_that_changed_while_it_was_sent_is_not_stored(size: int) -> None:
    """The key has no digest: only the client's INVALID tells."""
    key = Key.parse(f"WORM-s{size}-m1--name")

    async def scenario(world: Simulation) -> None:
        async with uploading(world, key) as (_, upload), upload:
            await upload.begin(size)
            await upload.send_all(memoryview(sample(size)))
            assert await upload.finish(False) == NotStored()
        assert not any(node.store.contents for node in world.nodes)

    simulate(scenario)


@pytest.mark.parametrize("size", [100, 1_000_000])
@pytest.mark.parametrize("missing", [0, 1])
def test_an_upload_that_is_closed_early_is_not_stored(size: int, missing: int) -> None:
    """Also if all of its bytes were sent: without VALID, nothing says that they are good."""
    key = Key.parse(f"WORM-s{size}-m1--name")

    async def scenario(world: Simulation) -> None:
        async with uploading(world, key) as (cluster, upload):
            await upload.begin(size)
            await upload.send_all(memoryview(sample(size))[missing:])
            await upload.aclose()
            assert not any(node.transfers for node in cluster.nodes)
        assert not any(node.store.contents for node in world.nodes)
        assert all(len(node.store.partials[key]) == size - missing for node in world.nodes), "but it can be resumed"

    simulate(scenario)


@pytest.mark.parametrize("kept", [0, 1, 65536, 300_000, 1_000_000])
def test_a_node_that_kept_more_than_the_others_stores_it_too(kept: int) -> None:
    """More than one block more, or all of it: it gets exactly the bytes that it lacks."""
    content = sample(1_000_000)
    key = key_of(content)

    async def scenario(world: Simulation) -> None:
        a, b = world.node("a"), world.node("b")
        a.store.partials[key] = bytearray(content[:10])
        b.store.partials[key] = bytearray(content[:kept])
        async with world.cluster() as cluster:
            outcome = await offer(cluster, content, key, piece=100_000)
            assert outcome == Stored(frozenset({a.uuid, b.uuid}))
        assert a.store.contents[key] == b.store.contents[key] == content

    simulate(scenario)


def test_a_node_that_kept_more_than_there_is_is_left_out() -> None:
    """With a size in the key this is known from the start, without one from the announced length."""

    async def scenario(world: Simulation) -> None:
        a, b = world.node("a"), world.node("b")
        for key in (key_of(CONTENT), Key.parse("WORM-m1--name")):
            b.store.partials[key] = bytearray(b"much more than the content has")
            async with world.cluster() as cluster:
                assert await offer(cluster, CONTENT, key) == Stored(frozenset({a.uuid}))
            assert key not in b.store.contents

    simulate(scenario)


def test_an_outcome_names_only_nodes_that_stored_it() -> None:
    """One of them finds the content wrong, though another one accepts it."""
    content = sample(1000)
    key = key_of(content)

    async def scenario(world: Simulation) -> None:
        a, b = world.node("a"), world.node("b")
        b.store.partials[key] = bytearray(b"not a part of it")
        async with world.cluster() as cluster:
            assert await offer(cluster, content, key) == Stored(frozenset({a.uuid}))
            assert await offer(cluster, b"x" * 1000, other := key_of(sample(1000, 1))) == NotStored()
        assert other not in a.store.contents

    simulate(scenario)


@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_an_outcome_names_those_that_had_it_before(size: int) -> None:
    content = sample(size)
    key = key_of(content)

    async def scenario(world: Simulation) -> None:
        a, b, c = world.node("a"), world.node("b"), world.node("c")
        a.store.contents[key] = content
        async with world.cluster() as cluster:
            c.fail(Failing.DIE, size // 2)
            assert await offer(cluster, content, key) == Stored(frozenset({a.uuid, b.uuid}))
            del b.store.contents[key]
            b.fail(Failing.DIE, size // 2)
            outcome = await offer(cluster, content, key)
            assert outcome == NotStored(frozenset({a.uuid})), "no target stored it, but it is there"

    simulate(scenario)


@pytest.mark.parametrize("when", ["put", "in the middle", "finish"])
def test_a_node_that_hangs_is_recorded_as_failed(when: str) -> None:
    """So the next request does not wait for it."""
    content = sample(1_000_000)
    key = key_of(content)

    async def scenario(world: Simulation) -> None:
        a, b = world.node("a"), world.node("b")
        b.fail(Failing.HANG, {"put": -1, "in the middle": 500_000, "finish": len(content)}[when])
        async with world.cluster(queue=100_000) as cluster:
            assert await offer(cluster, content, key, piece=50_000) == Stored(frozenset({a.uuid}))
            assert [node.suspended for node in cluster.nodes] == [False, True]

    simulate(scenario)


def test_a_node_that_the_others_waited_for_may_be_slow_again_while_they_do_not() -> None:
    """Only while all others wait for it does a node have less time than its timeout."""
    block = 50_000
    content = sample(11 * block)
    key = key_of(content)

    async def scenario(world: Simulation) -> None:
        a, b = world.node("a"), world.node("b", disk=block)
        async with world.cluster(queue=2 * block) as cluster:
            upload = await cluster.put(key)
            assert not isinstance(upload, AlreadyHave)
            async with upload:
                await upload.begin(len(content))
                await send_pieces(upload, content[: 10 * block], block)
                await trio.sleep(20)
                assert b.taken == 10 * block
                b.conditions.disk = block / 25
                await upload.send_all(memoryview(content)[10 * block :])
                await trio.sleep(26)  # the client has nothing to send yet
                assert await upload.finish(True) == Stored(frozenset({a.uuid, b.uuid}))

    simulate(scenario)


def test_an_upload_fails_as_soon_as_no_node_is_left() -> None:
    """The client need not send the rest."""
    content = sample(1_000_000)

    async def scenario(world: Simulation) -> None:
        for name, after in [("a", 200_000), ("b", 300_000)]:
            world.node(name).fail(Failing.DIE, after)
        async with world.cluster(queue=100_000) as cluster:
            upload = await cluster.put(key_of(content))
            assert not isinstance(upload, AlreadyHave)
            async with upload:
                await upload.begin(len(content))
                expected = pytest.raises(RemoteError, match=r"no node could store the content: a: .*; b: ")
                with expected, trio.fail_after(NODE_TIMEOUT):
                    await send_pieces(upload, content, 50_000)

    simulate(scenario)


@pytest.mark.parametrize("beyond", [0.05, 0.15])
def test_a_node_that_hashes_before_its_outcome_gets_as_much_longer_as_that_takes(beyond: float) -> None:
    """0.1 s for a megabyte."""
    content = sample(1_000_000)

    async def scenario(world: Simulation) -> None:
        a, b = world.node("a"), world.node("b")
        async with world.cluster() as cluster:
            upload = await cluster.put(key_of(content))
            assert not isinstance(upload, AlreadyHave)
            async with upload:
                await upload.begin(len(content))
                await send_pieces(upload, content)
                b.conditions.seek = NODE_TIMEOUT + beyond
                stored = {a.uuid, b.uuid} if beyond < 0.1 else {a.uuid}
                assert await upload.finish(True) == Stored(frozenset(stored))

    simulate(scenario)


def test_an_offset_beyond_the_content_does_not_reach_the_client() -> None:
    """Where all nodes kept too much, there is no byte to begin with."""

    async def scenario(world: Simulation) -> None:
        for name in "ab":
            world.node(name).store.partials[KEY] = bytearray(b"much more than the content has")
        async with world.cluster() as cluster:
            with pytest.raises(RemoteError, match="it kept 30 bytes of content that has 7"):
                await cluster.put(KEY)
            assert not any(node.transfers for node in cluster.nodes)

    simulate(scenario)


@pytest.mark.parametrize("queue", [100_000, 8 << 20])
def test_closing_an_upload_to_a_hanging_node_takes_a_few_seconds(queue: int) -> None:
    """It is closed while what is queued for the node cannot be sent."""
    content = sample(300_000)

    async def scenario(world: Simulation) -> None:
        a, b = world.node("a"), world.node("b")
        b.fail(Failing.HANG, 250_000)
        async with world.cluster(queue=queue) as cluster:
            upload = await cluster.put(key := key_of(sample(1_000_000)))
            assert not isinstance(upload, AlreadyHave)
            await upload.begin(1_000_000)
            await send_pieces(upload, content, 50_000)
            started = trio.current_time()
            await upload.aclose()
            assert trio.current_time() - started <= 2 * TRANSFER_CLOSE_TIMEOUT
            assert not any(node.transfers for node in cluster.nodes)
        assert len(a.store.partials[key]) == len(content)

    simulate(scenario)
