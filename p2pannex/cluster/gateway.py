"""A cluster: many repositories seen as one, through the same shape as each of them.

What one node does wrong is never the cluster's failure as long as another can do it: reading goes from node to node
until one answers; storing succeeds where one node has stored, and says which; only removal wants all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self, TypeVar

import trio

from p2pannex.cluster.downloads import ClusterDownload
from p2pannex.cluster.node import Node, ranked
from p2pannex.cluster.patience import Patience, ask_all
from p2pannex.cluster.removal import remove_from
from p2pannex.cluster.uploads import QUEUE, ClusterUpload, close_all
from p2pannex.keys import Key
from p2pannex.protocol.errors import ConnectionLost, RemoteError
from p2pannex.service import AlreadyHave, Clock, Download, Lock, Removal, Service, SystemClock, Upload

T = TypeVar("T")

Wanted = Callable[[Key, bytes | None, Sequence[Node]], Awaitable[Iterable[Node]]]
"""Which of the nodes content should go to: the key, the client's name for it, the nodes that can be reached."""

UPLOADS = 8
"""Uploads at a time. Each holds a connection to several nodes at once, so they are admitted here, in one place: if
each node admitted them for itself, two uploads could each hold the connection that the other waits for."""


def counts_as_nodes(uuid: str) -> bool:
    """Whether git-annex takes `uuid` for a cluster's (version 8, beginning with "ac"): it counts the nodes instead."""
    return len(uuid) == 36 and uuid.startswith("ac") and uuid[14] == "8"


class Cluster(Service):
    """The repository `uuid` that `nodes` are together. Use it as an ``async with`` block: its tasks live there.

    `clock` is the cluster's own. `wanted` chooses where content is stored; by default everywhere. `gateway` is the
    repository of the gateway itself, which gateways behind it are told so as not to come back. With `require_deadline`,
    nodes that know no deadlines (versions below 3) are not asked to remove before one. `queue` is how many bytes of an
    upload may wait for one node.

    Results name the nodes that have the content, unless `name_nodes` is False. That is for clients that count `uuid` as
    a copy of its own: told of the nodes as well, they would count one copy twice, and might drop their last. git-annex
    does not count those UUIDs that `counts_as_nodes` tells.
    """

    def __init__(
        self,
        uuid: str,
        nodes: Iterable[Node] = (),
        *,
        gateway: str | None = None,
        clock: Clock | None = None,
        wanted: Wanted | None = None,
        require_deadline: bool = False,
        name_nodes: bool = True,
        queue: int = QUEUE,
    ) -> None:
        self.uuid = uuid
        self.gateway = gateway
        self.clock = clock or SystemClock()
        self.wanted = wanted
        self.require_deadline = require_deadline
        self.name_nodes = name_nodes
        self.queue = queue
        self._ways: dict[str, list[Node]] = {}
        self._slots = trio.Semaphore(UPLOADS)
        self._bypass: frozenset[str] = frozenset()
        self._services: dict[tuple[Node, frozenset[str]], Service] = {}
        self._nursery: trio.Nursery | None = None
        self._nursery_manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        for node in nodes:
            self.add(node)

    # Nodes ------------------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Those that are there at this moment, every way to each of them."""
        return tuple(node for ways in self._ways.values() for node in ways)

    def add(self, node: Node) -> None:
        """Add a node, or another way to a repository that is a node already. It is asked from the next request on."""
        self._ways.setdefault(node.uuid, []).append(node)

    def discard(self, node: Node) -> None:
        """Take a node away. Transfers that are under way are not disturbed."""
        ways = self._ways.get(node.uuid, [])
        if node in ways:
            ways.remove(node)
        if not ways:
            self._ways.pop(node.uuid, None)

    def bypassing(self, uuids: frozenset[str]) -> Service:
        """The same nodes and tasks, without those that are the client's own or that it came through. Close it, too."""
        view = copy.copy(self)
        view._bypass = self._bypass | uuids
        view._services = {}
        return view

    def _reach(self) -> list[Node]:
        """The nodes in the order in which to ask them: each repository once, by the best way that is not bypassed."""
        best: list[Node] = []
        for ways in self._ways.values():
            usable = ranked(
                node for node in ways if node.uuid not in self._bypass and node.via.isdisjoint(self._bypass)
            )
            best += usable[:1]
        return ranked(best)

    def _service(self, node: Node) -> Service:
        """A node's service, told of the gateways that requests have come through, ourselves included, and of those
        that we ask ourselves: what is behind them would otherwise be asked by each gateway that knows them."""
        bypass = self._bypass if self.gateway is None else self._bypass | {self.gateway}
        if node.via:
            bypass |= frozenset().union(*(other.via for other in self.nodes)) - node.via
        if not bypass:
            return node.service
        known = self._services.get((node, bypass))
        if known is None:
            known = self._services[node, bypass] = node.service.bypassing(bypass)
        return known

    async def _ask_all(
        self,
        nodes: Iterable[Node],
        question: Callable[[Node, Service], Awaitable[T]],
        patience: Patience | None = None,
    ) -> tuple[dict[Node, T], list[str]]:
        """Ask nodes, all at once: the answers, and in words what kept the others from answering."""
        return await ask_all(nodes, lambda node: question(node, self._service(node)), patience)

    # The shape --------------------------------------------------------------------------------------------------

    async def check_present(self, key: Key) -> bool:
        """True as soon as one node says so; False only where every node does, since a client may believe it."""
        problems: list[str] = []
        for node in self._reach():
            service = self._service(node)
            try:
                if await node.ask(service.check_present, key):
                    return True
            except (RemoteError, ConnectionLost) as error:
                problems.append(f"{node.name}: {error}")
        if problems:
            raise RemoteError("not every node could be asked: " + "; ".join(problems))
        await trio.lowlevel.checkpoint_if_cancelled()
        return False

    async def lock(self, key: Key) -> Lock | None:
        """The first node's lock. One that a node may have taken without our hearing of it keeps content, no more."""
        for node in self._reach():
            service = self._service(node)
            try:
                lock = await node.ask(service.lock, key)
            except (RemoteError, ConnectionLost):
                continue
            if lock is not None:
                return lock
        await trio.lowlevel.checkpoint_if_cancelled()
        return None

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        """Remove from every node, whether or not it is thought to have the content. Anything but success everywhere
        is a failure, which names where it is gone from."""

        async def remove(node: Node, service: Service) -> Removal:
            return await remove_from(node, service, key, before, self.clock, require_deadline=self.require_deadline)

        nodes = self._reach()
        answers, problems = await self._ask_all(nodes, remove)
        gone: frozenset[str] = frozenset()
        for node, removal in answers.items():
            gone |= removal.uuids | ({node.uuid} if removal.ok else frozenset())
        return Removal(not problems and all(removal.ok for removal in answers.values()), self._named(gone))

    def _named(self, uuids: frozenset[str]) -> frozenset[str]:
        return uuids if self.name_nodes else frozenset()

    async def timestamp(self) -> int:
        await trio.lowlevel.checkpoint_if_cancelled()
        return int(self.clock.monotonic())

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        if self._nursery is None:
            raise RuntimeError("a Cluster has to be entered with async with")
        nodes = self._reach()
        if self.wanted is not None:
            nodes = list(await self.wanted(key, file, nodes))
        # A node that is known not to answer would have every upload wait for its timeout.
        nodes = [node for node in nodes if node.healthy] or nodes
        if not nodes:
            raise RemoteError("no node wants this content")
        await self._slots.acquire()
        begun: Upload | AlreadyHave | None = None
        try:
            begun = await self._begin(nodes, key, file)
            return begun
        finally:
            if not isinstance(begun, Upload):  # which gives its place back when it is closed
                self._slots.release()

    async def _begin(self, nodes: list[Node], key: Key, file: bytes | None) -> Upload | AlreadyHave:
        assert self._nursery is not None
        uploads: list[tuple[Node, Upload]] = []
        patience = Patience()

        async def begin(node: Node, service: Service) -> Upload | AlreadyHave:
            answer = await node.ask(service.put, key, file)
            if isinstance(answer, Upload):
                uploads.append((node, answer))
            return answer

        present: frozenset[str] = frozenset()
        try:
            answers, problems = await self._ask_all(nodes, begin, patience)
            for node, answer in answers.items():
                if isinstance(answer, AlreadyHave):
                    present |= answer.uuids | {node.uuid}
            if uploads:
                return ClusterUpload(
                    self._nursery, uploads, present, self._named, self._slots.release, patience, queue=self.queue
                )
        except BaseException:
            await close_all(upload for _, upload in uploads)
            raise
        if not present:
            raise RemoteError("no node could store the content: " + "; ".join(problems))
        return AlreadyHave(self._named(present))

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        download = ClusterDownload(key, offset, file, ((node, self._service(node)) for node in self._reach()))
        try:
            await download.open()
        except BaseException:
            await download.aclose()
            raise
        return download

    # Its life ---------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._nursery_manager = trio.open_nursery()
        self._nursery = await self._nursery_manager.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        manager, self._nursery_manager = self._nursery_manager, None
        nursery, self._nursery = self._nursery, None
        assert manager is not None
        assert nursery is not None
        nursery.cancel_scope.cancel()
        try:
            await self.aclose()
        finally:
            # What the block raised comes out as it is, not as a part of a group.
            await manager.__aexit__(None, None, None)

    async def aclose(self) -> None:
        """Close what was opened for the clients of a gateway. The nodes' own services belong to whoever made them."""
        services, self._services = self._services, {}
        for (node, _), service in services.items():
            if service is not node.service:
                await service.aclose()
