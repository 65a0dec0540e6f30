"""A node that hashes what it kept is waited for; a node that hangs with nothing to hash costs one timeout.

Timeouts are short here: contents are small, and a node is waited for as long as its bytes take at HASHING_RATE.
"""

from __future__ import annotations

import pytest
import trio

from p2pannex.cluster.presence import NotAllAsked
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import HASHING_RATE, Stored, Upload
from p2pannex.testing.samples import key_of, sample, send_pieces, store
from p2pannex.testing.simulator import Failing, SimulatedNode, Simulation, simulate

TIMEOUT = 0.01
SIZE, KEPT = 1_500_000, 1_000_000
CONTENT = sample(SIZE)
KEY = key_of(CONTENT)
TO_HASH = KEPT / HASHING_RATE
QUEUE = 20_000
MANY = 1 << 20
assert TO_HASH > 5 * TIMEOUT


def kept(node: SimulatedNode) -> SimulatedNode:
    node.store.partials[KEY] = bytearray(CONTENT[:KEPT])
    return node


async def put(world: Simulation, queue: int) -> tuple[frozenset[str], float]:
    """Who stored it, and how long that took."""
    started = trio.current_time()
    async with world.cluster(timeout=TIMEOUT, queue=queue) as cluster:
        upload = await cluster.put(KEY)
        assert isinstance(upload, Upload)
        async with upload:
            await upload.begin(SIZE - upload.offset)
            await send_pieces(upload, CONTENT[upload.offset :], 10_000)
            outcome = await upload.finish(True)
        return outcome.uuids, trio.current_time() - started


@pytest.mark.parametrize("queue", [QUEUE, MANY])
@pytest.mark.parametrize("others", [0, 2])
def test_a_node_at_work_stores_it(queue: int, others: int) -> None:
    """Whether the upload has to wait for it in the middle, or at the end."""

    async def scenario(world: Simulation) -> None:
        nodes = [kept(world.node("hashes", hashing=2 * HASHING_RATE))]
        nodes += [world.node(str(number)) for number in range(others)]
        uuids, took = await put(world, queue)
        assert uuids == {node.uuid for node in nodes}
        assert took >= TO_HASH / 2

    simulate(scenario)


@pytest.mark.parametrize("queue", [QUEUE, MANY])
def test_a_node_that_takes_longer_than_a_slow_one_is_left_out(queue: int) -> None:
    async def scenario(world: Simulation) -> None:
        kept(world.node("too slow", hashing=HASHING_RATE / 10))
        healthy = world.node("healthy")
        uuids, took = await put(world, queue)
        assert uuids == {healthy.uuid}
        assert took <= SIZE / HASHING_RATE + 2 * TIMEOUT

    simulate(scenario)


@pytest.mark.parametrize("queue", [QUEUE, MANY])
@pytest.mark.parametrize("after", [0, SIZE // 2])
def test_a_node_that_hangs_and_kept_nothing_costs_one_timeout(queue: int, after: int) -> None:
    """In the middle of the body, however large the content is."""

    async def scenario(world: Simulation) -> None:
        world.node("hangs").fail(Failing.HANG, after)
        healthy = world.node("healthy")
        started = trio.current_time()
        async with world.cluster(timeout=TIMEOUT, queue=queue) as cluster:
            upload = await cluster.put(KEY)
            assert isinstance(upload, Upload)
            async with upload:
                await upload.begin(SIZE)
                await send_pieces(upload, CONTENT, 10_000)
                if queue == QUEUE:
                    assert trio.current_time() - started <= TIMEOUT
                outcome = await upload.finish(True)
        assert outcome == Stored(frozenset([healthy.uuid]))
        # With a queue for all of the content, it is only noticed at the end. It may have to hash what it has there.
        assert trio.current_time() - started <= TIMEOUT + (0 if queue == QUEUE else SIZE / HASHING_RATE)

    simulate(scenario)


def test_a_node_that_reads_on_does_not_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it kept was hashed before that, so if it takes nothing any more, it hangs."""
    monkeypatch.setattr("p2pannex.cluster.uploads.IN_BUFFERS", 50_000)

    async def scenario(world: Simulation) -> None:
        kept(world.node("hangs")).fail(Failing.HANG, 200_000)
        kept(world.node("healthy"))
        async with world.cluster(timeout=TIMEOUT, queue=QUEUE) as cluster:
            upload = await cluster.put(KEY)
            assert isinstance(upload, Upload)
            async with upload:
                await upload.begin(SIZE - KEPT)
                await send_pieces(upload, CONTENT[KEPT:], 10_000)
                assert trio.current_time() <= TIMEOUT
                assert len((await upload.finish(True)).uuids) == 1

    simulate(scenario)


def test_a_node_that_verifies_content_anew_before_a_download_is_waited_for() -> None:
    """It vouches for content that others may have changed only after it has hashed it."""

    async def scenario(world: Simulation) -> None:
        node = world.node("verifies", seek=SIZE / HASHING_RATE)
        await store(node.store, CONTENT)
        async with world.cluster(timeout=TIMEOUT) as cluster, await cluster.get(KEY) as download:
            assert download.length == SIZE

    simulate(scenario)


@pytest.mark.parametrize("what", ["check_present", "lock"])
def test_another_node_answers_where_one_has_to_verify_for_long(what: str) -> None:
    async def scenario(world: Simulation) -> None:
        for node in (world.node("verifies", seek=SIZE / HASHING_RATE), world.node("protected")):
            await store(node.store, CONTENT)
        async with world.cluster(timeout=TIMEOUT) as cluster:
            if what == "check_present":
                assert await cluster.check_present(KEY)
            else:
                await (await cluster.lock(KEY)).aclose()
        assert trio.current_time() <= TIMEOUT + 1

    simulate(scenario)


def test_a_node_that_hangs_with_small_content_costs_one_timeout() -> None:
    async def scenario(world: Simulation) -> None:
        world.node("hangs").fail(Failing.HANG)
        key = Key.parse(b"WORM-s1000-m1--x")
        async with world.cluster(timeout=TIMEOUT) as cluster:
            with pytest.raises((NotAllAsked, RemoteError, ConnectionLost)):
                await cluster.check_present(key)
        assert trio.current_time() <= TIMEOUT + 1000 / HASHING_RATE

    simulate(scenario)
