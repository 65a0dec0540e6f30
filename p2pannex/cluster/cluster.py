"""A cluster: many repositories as one Service.

A request to the cluster succeeds as long as one node can fulfil it. A read goes from node to node until one has the
content. A store succeeds if one node stored the content, or as many as `Cluster.copies`, and the result names the nodes
that did. Only a removal has to succeed at all nodes.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Self, TypeVar

import trio

from p2pannex.cluster.admission import Admission
from p2pannex.cluster.ask import Failures, ask_all, ask_in_time, left_out, listed
from p2pannex.cluster.block_queue import Memory
from p2pannex.cluster.copies import Outcomes
from p2pannex.cluster.downloads import ClusterDownload
from p2pannex.cluster.node import Node, ranked, to_ask
from p2pannex.cluster.open_uploads import open_uploads
from p2pannex.cluster.presence import check_present
from p2pannex.cluster.probes import Probes
from p2pannex.cluster.removal import remove_from
from p2pannex.cluster.stall_budget import StallBudget
from p2pannex.cluster.topology import Gateway, allowed, to_bypass
from p2pannex.cluster.uploads import QUEUE, ClusterUpload
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Download, Lock, NotLocked, Removal, Service, Upload
from p2pannex.system.background import Background
from p2pannex.system.clock import Clock, SystemClock

T = TypeVar("T")

Wanted = Callable[[Key, bytes | None, Sequence[Node]], Awaitable[Iterable[Node]]]
"""Chooses the nodes to store content on. Called with the key, the client's name for the content, and the nodes that
can be reached."""


def counts_as_nodes(uuid: str) -> bool:
    """Whether git-annex knows by `uuid` (version 8, beginning with "ac") that it is a cluster's. It then counts the
    copies on the cluster's nodes, and none for the cluster itself."""
    return len(uuid) == 36 and uuid.startswith("ac") and uuid[14] == "8"


class Cluster(Gateway):
    """The repository `uuid` that `nodes` form together. Enter it with ``async with``: its tasks run in that block.

    - `gateway`: the UUID of the gateway's own repository. Other gateways get it with each request, as one to bypass, so
      that the request does not come back here.
    - `clock`: the cluster's own clock.
    - `wanted`: chooses the nodes to store content on; without it, content is stored on all nodes.
    - `require_deadline`: a removal with a deadline is not sent to nodes that do not support deadlines (protocol
      versions below 3).
    - `queue`: how many bytes of an upload may wait for one node.
    - `memory`: counts and limits the bytes of all uploads that wait for nodes. Without it, only `queue` limits them.
    - `name_nodes`: whether results name the nodes that have the content. It must be False if clients count `uuid` as a
      copy of its own. Such a client would count one copy twice if it learned of the nodes as well, and might then drop
      its last copy. git-annex does not count a UUID for which `counts_as_nodes` is true.
    - `copies`: the least number of nodes that must have content (`p2pannex.cluster.copies`).
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
        copies: int = 1,
        queue: int = QUEUE,
        memory: Memory | None = None,
    ) -> None:
        self.uuid = uuid
        self.gateway = gateway
        self.clock = clock or SystemClock()
        self.wanted = wanted
        self.require_deadline = require_deadline
        self.name_nodes = name_nodes
        self.queue = queue
        self.memory = memory
        self._copies = copies
        self._routes: dict[str, list[Node]] = {}
        self._admission = Admission()
        self._bypass: frozenset[str] = frozenset()
        self._services: dict[tuple[Node, frozenset[str]], Service] = {}
        self._nursery: trio.Nursery | None = None
        self._background: Background | None = None
        self._probes = Probes(lambda: self.nodes, lambda node: self._service(node, [node]))
        for node in nodes:
            self.add(node)

    # Nodes ------------------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes at this moment, with every route to each of them."""
        return tuple(node for routes in self._routes.values() for node in routes)

    @property
    def copies(self) -> int:
        """The least number of nodes that must have content."""
        return self._copies

    def add(self, node: Node) -> None:
        """Add a node, or another route to a repository that is a node already. The next request uses it.

        Set `node.health.memory` before, to have the node's failures remembered."""
        self._routes.setdefault(node.uuid, []).append(node)
        self._probes.watch(node)

    def discard(self, node: Node) -> None:
        """Remove a node. Running transfers continue."""
        routes = self._routes.get(node.uuid, [])
        if node in routes:
            routes.remove(node)
        if not routes:
            self._routes.pop(node.uuid, None)

    def bypassing(self, uuids: frozenset[str]) -> Service:
        """A view of this cluster for a client that came through the gateways `uuids`. It shares nodes and tasks with
        this cluster, and uses none of these gateways and no node of these UUIDs. The caller closes it."""
        view = copy.copy(self)
        view._bypass = self._bypass | uuids
        view._services = {}
        return view

    def _reach(self) -> list[Node]:
        """The nodes in the order in which they get requests: each repository once, by its best route that is not
        bypassed."""
        best: list[Node] = []
        for routes in self._routes.values():
            best += ranked(node for node in routes if allowed(node, self._bypass))[:1]
        return ranked(best)

    def _service(self, node: Node, asked: Sequence[Node]) -> Service:
        """The node's service for a request that all of `asked` get. It bypasses the gateways that the request came
        through, this gateway, and what `p2pannex.cluster.topology` assigns to the other nodes of `asked`."""
        bypass = self._bypass if self.gateway is None else self._bypass | {self.gateway}
        bypass = to_bypass(node, asked, self.nodes, bypass)
        if not bypass:
            return node.service
        known = self._services.get((node, bypass))
        if known is None:
            known = self._services[node, bypass] = node.service.bypassing(bypass)
        return known

    # Service ----------------------------------------------------------------------------------------------------

    async def check_present(self, key: Key) -> bool:
        """See `p2pannex.cluster.presence`. NotAllAsked if no node has the content, and some nodes did not reply."""
        nodes, suspended = to_ask(await self.order(key, self._reach()))
        return await check_present(nodes, suspended, self._service, self._probes.recovered, key, self.copies)

    async def lock(self, key: Key) -> Lock:
        """The lock of the first node that grants one; NotLocked if no node does.

        A node whose reply was lost may hold a lock too. That does no harm: it only keeps the content until the lock
        expires. A node gets its timeout and no more, even if it has to hash the content first: the next one may have a
        copy that needs no hashing.
        """
        nodes, suspended = to_ask(await self.order(key, self._reach()))
        failures: Failures = {}
        asked: list[Node] = []
        while nodes:
            asked += nodes
            for node in nodes:
                service = self._service(node, asked)
                try:
                    return await node.ask(service.lock, key)
                except (RemoteError, ConnectionLost) as error:
                    failures[node.name] = str(error)
            nodes, suspended = await self._probes.recovered(suspended)
        failures = left_out(suspended) | failures
        await trio.lowlevel.checkpoint_if_cancelled()
        raise NotLocked("no node could lock the content: " + (listed(failures) or "there is no node"))

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        """Remove the content from every node, also from nodes that are not known to have it. `ok` only if every node
        succeeds, so never while a node is suspended, whichever process found that it fails. `uuids` are the
        repositories that it is gone from, in either case.
        """

        async def remove(node: Node) -> Removal:
            service = self._service(node, nodes)
            return await remove_from(node, service, key, before, self.clock, require_deadline=self.require_deadline)

        nodes = self._reach()
        await self._probes.settle(nodes)
        nodes, suspended = to_ask(nodes)
        replies, failures = await ask_all(nodes, remove)
        gone: frozenset[str] = frozenset()
        for node, removal in replies.items():
            gone |= removal.uuids | ({node.uuid} if removal.ok else frozenset())
            if not removal.ok:
                failures[node.name] = removal.reason or "it refused, without a reason"
        failures |= left_out(suspended)
        return Removal(not failures, self._named(gone), listed(failures))

    def _named(self, uuids: frozenset[str]) -> frozenset[str]:
        return uuids if self.name_nodes else frozenset()

    async def timestamp(self) -> int:
        await trio.lowlevel.checkpoint_if_cancelled()
        return int(self.clock.monotonic())

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        if self._nursery is None:
            raise RuntimeError("a Cluster has to be entered with async with")
        reach = self._reach()
        await self._probes.settle(reach)
        wanted = await self.choose(key, file, reach)
        if not wanted:
            raise RemoteError("no node wants this content")
        others = [node for node in reach if node not in wanted]
        elsewhere = await self._holders(key, others) if self.copies > 1 else frozenset[str]()
        # An unhealthy node would delay every upload by its timeout. It gets the content if the others are too few.
        nodes = [node for node in wanted if node.healthy]
        if len(elsewhere.union(node.uuid for node in nodes)) < self.copies:
            nodes = wanted
        outcomes = Outcomes(self.copies, self._routes, elsewhere, self._named)
        await self._admission.enter(nodes)
        stall_budget = StallBudget(len(nodes))
        try:
            targets, present, failures = await open_uploads(
                nodes, functools.partial(self._service, asked=nodes), key, file, stall_budget, self._nursery
            )
            failures |= left_out(node for node in wanted if node not in nodes)
            if not targets and not present:
                raise RemoteError("no node could store the content: " + listed(failures))
            if not targets:
                return outcomes.already(present, failures)
            upload = ClusterUpload(
                self._nursery,
                targets,
                present,
                failures,
                outcomes,
                self._admission,
                stall_budget,
                size=key.size or 0,
                queue=self.queue,
                memory=self.memory,
            )
            nodes = [node for node in nodes if all(node not in target.nodes for target in targets)]
            return upload
        finally:
            for node in nodes:  # nodes of the upload are no longer in the list: they keep their slot until it is done
                self._admission.leave(node)

    async def _holders(self, key: Key, nodes: Iterable[Node]) -> frozenset[str]:
        """Those of `nodes` that have the content."""
        replies = await self.presence(key, nodes)
        return frozenset([node.uuid for node, has_it in replies.items() if has_it])

    async def choose(self, key: Key, file: bytes | None, nodes: Sequence[Node]) -> list[Node]:
        """Those of `nodes` to store content on: the choice of `wanted`, or all. All of `nodes` can be reached."""
        if self.wanted is None:
            return list(nodes)
        return list(await self.wanted(key, file, nodes))

    async def order(self, key: Key, nodes: list[Node]) -> list[Node]:
        """The order in which nodes get a request until one has this content. `nodes` are ordered by health and cost,
        which is the default. Subclasses may override it."""
        return nodes

    async def presence(self, key: Key, nodes: Iterable[Node]) -> dict[Node, bool]:
        """Whether each node has the content. All get the request at the same time. Nodes that are unhealthy, or do not
        reply, are left out of the result."""

        asked = [node for node in nodes if node.healthy]

        async def ask(node: Node) -> bool:
            return await node.ask(self._service(node, asked).check_present, key)

        assert self._nursery is not None
        replies, _ = await ask_in_time(asked, ask, StallBudget(len(asked)), self._nursery)
        return replies

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        nodes = await self.order(key, self._reach())
        service = functools.partial(self._service, asked=to_ask(nodes)[0])
        download = ClusterDownload(key, offset, file, nodes, service, self._admission, self._probes.recovered)
        try:
            await download.open()
        except BaseException:
            await download.aclose()
            raise
        return download

    # Opening and closing ----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._background = await Background().__aenter__()
        self._nursery = self._probes.nursery = self._background.nursery
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        background, self._background, self._nursery = self._background, None, None
        self._probes.stop()
        assert background is not None
        background.stop()
        try:
            await self.aclose()
        finally:
            await background.__aexit__(kind, error, trace)

    async def aclose(self) -> None:
        """Close the services that `bypassing` made here. The code that made the nodes' own services closes those."""
        services, self._services = self._services, {}
        for (node, _), service in services.items():
            if service is not node.service:
                await service.aclose()
