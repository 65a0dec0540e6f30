"""A thousand requests that are cancelled, to real servers: nothing is left at either end.

The servers are processes of their own, on unix sockets, with their content on disk. What is counted is what the kernel
knows of: descriptors, sockets among them, and processes; and trio's tasks.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio

from p2pannex.access import TokenFile
from p2pannex.cluster import Cluster, Node
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.p2p.dial import open_socket_peer
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.remote import Remote
from p2pannex.protocol.messages import Auth
from p2pannex.service import Service
from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.samples import fetch, key_of, offer, sample, store
from p2pannex.transports.sockets import UnixAddress
from tests.support.descriptors import count_descriptors
from tests.support.waiting import until

PRESENT = sample(300_000, 1)
ABSENT = sample(300_000, 2)


class Server:
    """`p2pannex serve`, of a store of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = DirectoryStore.create(directory / "store")
        self.token, _ = TokenFile(self.store.path).create()
        self.socket = directory / "socket"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "p2pannex.cli.main", "serve", self.store.path, "--listen", f"unix:{self.socket}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a line for each connection
            text=True,
        )

    def ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("unix:")

    def remote(self) -> Remote:
        async def dial() -> Peer:
            return await open_socket_peer(UnixAddress(str(self.socket)))

        return Remote(dial, self.store.uuid, credentials=Auth("me", self.token))

    @property
    def descriptors(self) -> int:
        return count_descriptors(self.process.pid)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Server]]:
    for name in "abc":
        (tmp_path / name).mkdir()
    servers = [Server(tmp_path / name) for name in "abc"]
    for server in servers:
        server.ready()
    yield servers
    for server in servers:
        server.stop()


async def lock(service: Service) -> None:
    async with await service.lock(key_of(PRESENT)):
        await trio.sleep(0.01)


REQUESTS: list[Callable[[Service], Awaitable[object]]] = [
    lambda service: offer(service, ABSENT, key_of(ABSENT), piece=50_000),
    lambda service: fetch(service, key_of(PRESENT), piece=50_000),
    lambda service: service.remove(key_of(ABSENT)),
    lambda service: service.check_present(key_of(PRESENT)),
    lock,
]


async def cancelled(cluster: Cluster, count: int) -> int:
    """So many requests, each cancelled somewhere in the time that one takes; how many others ran to their ends."""
    completed = 0
    chance = random.Random(4)
    started = trio.current_time()
    for each in REQUESTS:
        await each(cluster)
    long = 2 * (trio.current_time() - started) / len(REQUESTS)

    async def request() -> None:
        nonlocal completed
        while True:
            with trio.move_on_after(chance.uniform(0, long)):
                with contextlib.suppress(RemoteError, ConnectionLost):  # another uploads the same just now
                    await chance.choice(REQUESTS)(cluster)
                completed += 1
                continue
            return

    limit = trio.CapacityLimiter(8)

    async def one_of_few() -> None:
        async with limit:
            await request()

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one_of_few)
    return completed


def living() -> int:
    return trio.lowlevel.current_statistics().tasks_living


async def test_a_thousand_cancelled_requests_to_real_servers(servers: list[Server]) -> None:
    gc.collect()  # what earlier tests left to the collector is not ours to count
    for server in servers:
        await store(server.store, PRESENT)
        async with server.remote() as remote:
            await remote.check_present(key_of(PRESENT))  # what a server opens once, it has open now
    await trio.sleep(0.2)
    tasks, ours = living(), count_descriptors(os.getpid())
    theirs = [server.descriptors for server in servers]
    remotes = [server.remote() for server in servers]
    async with Cluster("cluster", [Node(remote.uuid, remote) for remote in remotes]) as cluster:
        completed = await cancelled(cluster, 1000)
        await until(lambda: not any(node.transfers for node in cluster.nodes))
        for node in cluster.nodes:
            node.answered()
        await offer(cluster, ABSENT, key_of(ABSENT))
        for server in servers:
            assert await fetch(server.store, key_of(ABSENT)) == ABSENT, "it works as before"
    for remote in remotes:
        await remote.aclose()
    assert completed, "not all were cancelled before they had begun"
    await until(lambda: living() == tasks)
    assert count_descriptors(os.getpid()) == ours
    await until(lambda: [server.descriptors for server in servers] == theirs)
