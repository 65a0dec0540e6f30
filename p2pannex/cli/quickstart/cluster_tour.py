"""The second part of the quickstart: a cluster of three stores, one of which is killed during a download.

Each store is served by a child process of its own. A gateway in this process presents them as one repository, and a
client in this process uses it over a socket. The child process is killed with SIGKILL. A new one is started only for
the last step.
"""

from __future__ import annotations

import contextlib
import filecmp
import functools
import os
import shlex
import socket
import time
import uuid as uuid_module
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from p2pannex.cli.output import Output
from p2pannex.cli.progress import transfer_bar
from p2pannex.cli.quickstart.sandbox import make_files, open_store, serving, stored
from p2pannex.cli.quickstart.view import View, size, speed
from p2pannex.keys.key import Key
from p2pannex.transfer.file_keys import key_for_file

if TYPE_CHECKING:
    import trio

    from p2pannex.cluster import Cluster
    from p2pannex.p2p.peer import Peer
    from p2pannex.p2p.remote import Remote
    from p2pannex.stores.directory import DirectoryStore
    from p2pannex.transfer.transfer import Transferred

PROBED_WITHIN = 30.0
"""Seconds within which the gateway finds out that a node replies again, so early in its back-off."""

NODES = {"attic": 100.0, "cellar": 150.0, "shelf": 200.0}
"""The stores and their costs: a download comes from the cheapest one that replies."""

MADE = {"movie.mkv": 24_000_000, "song.ogg": 400_000}
"""The files that are made: name and size in bytes. The first one does not fit into the buffers between two processes,
so a process can be killed before it has sent the whole file."""


class Host:
    """A store, and the processes that serve it."""

    def __init__(self, name: str, store: DirectoryStore) -> None:
        self.name = name
        self.uuid = store.uuid
        self.argv = serving(store)
        self.on = True
        self.processes: list[trio.Process] = []
        self._ready: list[Peer] = []

    @property
    def pid(self) -> int:
        return self.processes[-1].pid

    async def start(self) -> None:
        """Start the process that the first connection will use."""
        self._ready.append(await self.dial())

    async def dial(self) -> Peer:
        from p2pannex.errors import ConnectionLost
        from p2pannex.p2p.dial import open_process_peer
        from p2pannex.transports.process import ProcessStream

        if not self.on:
            raise ConnectionLost("it is switched off")
        if self._ready:
            return self._ready.pop()
        peer = await open_process_peer(self.argv, describe=self.name, capture_stderr=True)
        assert isinstance(peer.stream, ProcessStream)
        self.processes.append(peer.stream.process)
        return peer

    def kill(self) -> None:
        """Kill the processes that serve the store. No connection can be made until `on` is True again."""
        self.on = False
        for process in self.processes:
            process.kill()

    async def aclose(self) -> None:
        while self._ready:
            await self._ready.pop().aclose()


class Killer:
    """A progress callback that kills the host that sends the bytes, once `middle` of them have arrived."""

    def __init__(
        self, cluster: Cluster, hosts: Sequence[Host], middle: int, watch: Callable[[Transferred], None]
    ) -> None:
        self.sources: list[str] = []
        """The names of the nodes that sent bytes, in order."""
        self.killed = hosts[0]
        self.reached = 0
        """How many bytes had arrived when the host was killed; 0 before that."""
        self._cluster = cluster
        self._hosts = hosts
        self._middle = middle
        self._watch = watch

    def __call__(self, now: Transferred) -> None:
        self._watch(now)
        self.sources += [node.name for node in self._cluster.nodes if node.transfers and node.name not in self.sources]
        if not self.reached and now.count >= self._middle:
            self.reached = now.count
            (self.killed,) = (host for host in self._hosts if host.name == self.sources[-1])
            self.killed.kill()


class ClusterTour:
    """Runs in `folder`."""

    def __init__(self, folder: str, view: View, output: Output) -> None:
        self.folder = folder
        self.view = view
        self.output = output
        self.hosts = [Host(name, open_store(folder, name)) for name in NODES]

    async def run(self) -> None:
        import trio

        film, song = make_files(self.folder, MADE)
        self.view.step(
            "cluster",
            "Three more stores, as one",
            "Clients use a cluster like a single repository. The nodes of this one are three stores, each served by a "
            "process of its own, as they would be on three machines.",
        )
        async with self.cluster() as (cluster, client):
            for host in self.hosts:
                url = f"exec:{shlex.join(host.argv)}"
                text = f"served by process {host.pid}"
                self.view.row([host.name, text], node=host.name, uuid=host.uuid, pid=host.pid, url=url)
            key = await trio.to_thread.run_sync(key_for_file, film, abandon_on_cancel=True)
            self.view.step(
                "cluster-put",
                "Put a film into the cluster",
                "The client sends it once. The gateway passes it on to all nodes at the same time, and its reply names "
                "those that have stored it.",
            )
            await self.put(client, film, key)
            await self.fetch(cluster, client, film, key)
            self.view.step(
                "cluster-put-without",
                "Put a song while one node is down",
                f"{self.hosts[0].name} stays switched off. The upload succeeds as long as another node stores the "
                "song. The reply names the nodes that did.",
            )
            await self.put(client, song, await trio.to_thread.run_sync(key_for_file, song, abandon_on_cancel=True))
            await self.remove(client, film, key)

    @asynccontextmanager
    async def cluster(self) -> AsyncIterator[tuple[Cluster, Remote]]:
        """The cluster, and the connection of its client."""
        from p2pannex.cluster import Cluster, Node
        from p2pannex.errors import ConnectionLost
        from p2pannex.p2p.remote import Remote
        from p2pannex.p2p.server import serve
        from p2pannex.p2p.stream_peer import StreamPeer
        from p2pannex.protocol.conversation import Side
        from p2pannex.system.background import Background
        from p2pannex.transports.descriptor import DescriptorStream

        here, there = (DescriptorStream.over_socket(end) for end in socket.socketpair())
        unused = [StreamPeer(here, Side.CLIENT)]

        async def dial() -> Peer:
            if not unused:
                raise ConnectionLost("the gateway has ended")
            return unused.pop()

        async def gateway() -> None:
            with contextlib.suppress(ConnectionLost):
                await serve(StreamPeer(there, Side.SERVER), cluster)

        async with AsyncExitStack() as stack:
            nodes = []
            for host in self.hosts:
                stack.push_async_callback(host.aclose)
                await host.start()
            for host in self.hosts:
                remote = await stack.enter_async_context(await Remote.open(host.dial, host.uuid))
                nodes.append(Node(host.name, remote, cost=NODES[host.name]))
            cluster = await stack.enter_async_context(Cluster(str(uuid_module.uuid4()), nodes))
            await stack.enter_async_context(Background(gateway))
            yield cluster, await stack.enter_async_context(await Remote.open(dial, cluster.uuid, connections=1))

    def named(self, uuids: Iterable[str]) -> list[str]:
        return [host.name for host in self.hosts if host.uuid in set(uuids)]

    # What is shown ------------------------------------------------------------------------------------------------

    async def put(self, client: Remote, path: str, key: Key) -> None:
        from p2pannex.transfer.transfer import send

        started = time.perf_counter()
        with transfer_bar(self.output, os.path.basename(path)) as watch:
            outcome = await send(client, key, path, progress=watch)
        seconds = time.perf_counter() - started
        nodes, count = self.named(outcome.uuids), watch.count - watch.offset
        text = f"{stored(outcome)}: {_listed(nodes)}, {speed(count, seconds)}"
        self.row(path, key, [size(os.path.getsize(path)), text], nodes=nodes, bytes=count, seconds=round(seconds, 6))

    async def fetch(self, cluster: Cluster, client: Remote, path: str, key: Key) -> None:
        import trio

        from p2pannex.transfer.transfer import WrongContent, retrieve

        self.view.step(
            "cluster-get",
            "Fetch it, and kill the node that sends it",
            "In the middle of the download, the process that sends the bytes is killed. The gateway continues from "
            "another node, at the byte that was reached. The client notices only a pause.",
        )
        fetched = os.path.join(self.folder, "fetched")
        os.makedirs(fetched, exist_ok=True)
        name = os.path.join(fetched, os.path.basename(path))
        started = time.perf_counter()
        with transfer_bar(self.output, os.path.basename(path)) as watch:
            killer = Killer(cluster, self.hosts, os.path.getsize(path) // 2, watch)
            await retrieve(client, key, name, progress=killer, overwrite=True)
        seconds = time.perf_counter() - started
        compare = functools.partial(filecmp.cmp, path, name, shallow=False)
        if not await trio.to_thread.run_sync(compare, abandon_on_cancel=True):
            raise WrongContent(f"bug: what was fetched differs from {path} (please report it)")
        if len(killer.sources) < 2:
            raise WrongContent("all of the film had arrived before the process was killed; run the quickstart again")
        host, reached = killer.killed, killer.reached
        text = f"process {host.pid} killed (SIGKILL) when {size(reached)} had arrived"
        self.view.row([host.name, text], node=host.name, killed=host.pid, bytes=reached)
        text = f"{killer.sources[-1]} continued; verified and identical, {speed(watch.count, seconds)}"
        fields = {"bytes": watch.count, "seconds": round(seconds, 6), "sources": killer.sources}
        self.row(path, key, [size(watch.count), text], **fields)

    async def remove(self, client: Remote, path: str, key: Key) -> None:
        import trio

        from p2pannex.transfer.drop import RemovalRefused

        self.view.step(
            "cluster-remove",
            "Remove the film from the cluster",
            "A removal succeeds only if no node has the film any more. While one node does not reply, the cluster "
            "replies FAILURE-PLUS and names the nodes that have removed it. Once that node is back, the client tries "
            "again.",
        )
        for again in (False, True):
            if again:
                for host in self.hosts:
                    host.on = True
            removal = await client.remove(key)
            if again:
                with trio.move_on_after(PROBED_WITHIN):
                    while not removal.ok:  # until the gateway's next probe finds that the node replies again
                        await trio.sleep(0.1)
                        removal = await client.remove(key)
            nodes = self.named(removal.uuids)
            if removal.ok is not again:
                raise RemovalRefused("another program uses these stores; run the quickstart again")
            answer = "SUCCESS-PLUS" if removal.ok else "FAILURE-PLUS"
            back = f"{self.hosts[0].name} is back: " if again else ""
            text = f"{back}{answer}, removed from {_listed(nodes)}"
            self.row(path, key, [text], removed=removal.ok, nodes=nodes)

    def row(self, path: str, key: Key, cells: list[str], **fields: object) -> None:
        self.view.row([os.path.basename(path), *cells], file=path, key=str(key), **fields)


def _listed(names: list[str]) -> str:
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]]) or "none"
