"""Requests to a cluster that are cancelled leave nothing behind."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from p2pannex.cluster import Cluster, Node
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.p2p.remote import Remote
from p2pannex.service import AlreadyHave, NotStored, Service, Stored
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.faults import Operation, cancel_everywhere
from p2pannex.testing.samples import fetch, key_of, sample, send_pieces
from p2pannex.testing.serving import served
from p2pannex.testing.simulator import Simulation, simulate

PRESENT = sample(3000, 1)
ABSENT = sample(3000, 2)


def living() -> int:
    return trio.lowlevel.current_statistics().tasks_living


async def put(service: Service, content: bytes) -> Stored | NotStored | AlreadyHave:
    upload = await service.put(key_of(content))
    if isinstance(upload, AlreadyHave):
        return upload
    async with upload:
        await upload.begin(len(content) - upload.offset)
        await send_pieces(upload, content[upload.offset :], 500)
        return await upload.finish(True)


async def lock(service: Service) -> None:
    async with await service.lock(key_of(PRESENT)):
        await trio.sleep(0.05)


REQUESTS: dict[str, Callable[[Service], Awaitable[object]]] = {
    "put": lambda service: put(service, ABSENT),
    "get": lambda service: fetch(service, key_of(PRESENT), piece=500),
    "remove": lambda service: service.remove(key_of(ABSENT)),
    "lock": lock,
    "check_present": lambda service: service.check_present(key_of(ABSENT)),
}


def assert_nothing_is_left(cluster: Cluster) -> None:
    assert [node.transfers for node in cluster.nodes] == [0] * len(cluster.nodes)
    assert not cluster._admission._queue
    assert cluster._nursery is not None
    assert not cluster._nursery.child_tasks


@pytest.mark.parametrize("name", ["put", "get", "remove", "lock"])
def test_cancelled_at_every_point(name: str) -> None:
    @asynccontextmanager
    async def world() -> AsyncIterator[Operation]:
        stores = [MemoryStore(name) for name in "abc"]
        for store in stores:
            store.contents[key_of(PRESENT)] = PRESENT
        stores[0].partials[key_of(ABSENT)] = bytearray(ABSENT[:100])
        if name == "remove":
            stores[1].contents[key_of(ABSENT)] = ABSENT
        async with Cluster("cluster", [Node(store.uuid, store) for store in stores]) as cluster:
            yield lambda: REQUESTS[name](cluster)
            assert_nothing_is_left(cluster)
            assert not any(store._uploading for store in stores)
            # What a cancelled upload kept is good for the next.
            assert isinstance(await put(cluster, ABSENT), Stored | AlreadyHave)
            assert all(store.contents[key_of(ABSENT)] == ABSENT for store in stores)

    async def scenario(_: Simulation) -> int:
        return await cancel_everywhere(world)

    assert simulate(scenario) > 5


async def thousand_cancelled(world: Simulation) -> int:
    """A thousand requests that are cancelled, some at once, some late; how many others ran to their ends.

    Over sockets, since descriptors are counted, too: what the kernel carries inside one machine takes no time.
    """
    random = world.random
    completed = 0
    async with AsyncExitStack() as stack:
        remotes: list[Remote] = []
        for name in "abc":
            node = world.node(name, latency=0.01, seek=0.01, bandwidth=100_000)
            node.store.contents[key_of(PRESENT)] = PRESENT
            remotes.append(await stack.enter_async_context(served(node, connections=4, transport="socket")))
        cluster = await stack.enter_async_context(Cluster("cluster", [Node(r.uuid, r) for r in remotes]))
        gc.collect()  # what earlier tests left to the collector is not ours to count
        baseline, descriptors = living(), len(os.listdir("/proc/self/fd"))

        async def request() -> None:
            nonlocal completed
            await trio.sleep(random.uniform(0, 60))
            while True:
                with trio.move_on_after(random.uniform(0, 0.15)):
                    try:
                        await random.choice(list(REQUESTS.values()))(cluster)
                    except (RemoteError, ConnectionLost):
                        pass  # another uploads the same just now
                    completed += 1
                    continue
                return  # cancelled

        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(request)
        await trio.sleep(100)
        assert_nothing_is_left(cluster)
        idle = sum(len(remote._pool._idle) for remote in remotes)
        assert [remote._pool._slots.value for remote in remotes] == [4, 4, 4]
        assert living() - baseline == 2 * idle, (
            "a server, and its watch, for each connection that is kept; nothing else"
        )
        assert isinstance(await put(cluster, ABSENT), Stored | AlreadyHave)
        for remote in remotes:
            await remote.aclose()
        await trio.sleep(100)
        assert living() == baseline
        assert len(os.listdir("/proc/self/fd")) == descriptors
    return completed


def test_a_thousand_cancelled_requests() -> None:
    assert simulate(thousand_cancelled, 3) > 100


async def test_what_the_block_raises_leaves_it_as_it_is() -> None:
    """Not in a group, with an upload under way."""

    async def block() -> None:
        async with Cluster("cluster", [Node("a", MemoryStore())]) as cluster:
            upload = await cluster.put(key_of(ABSENT))
            assert not isinstance(upload, AlreadyHave)
            await upload.begin(len(ABSENT))
            raise ValueError("mine")

    with pytest.raises(ValueError, match=r"^mine$"):
        await block()
    with trio.CancelScope() as scope:
        async with Cluster("cluster", [Node("a", MemoryStore())]):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
