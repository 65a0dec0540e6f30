"""A cluster: many repositories seen as one, through the same shape as each of them.

What one node does wrong is never the cluster's failure as long as another can do it: reading goes from node to node
until one answers; storing succeeds where one node has stored, and says which; only removal wants all of them.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Self, TypeVar

import trio

from p2pannex.cluster.admission import Admission
from p2pannex.cluster.ask import ask_all
from p2pannex.cluster.downloads import ClusterDownload
from p2pannex.cluster.node import Node, ranked
from p2pannex.cluster.open_uploads import open_uploads
from p2pannex.cluster.removal import remove_from
from p2pannex.cluster.stall_budget import StallBudget
from p2pannex.cluster.topology import Gateway, allowed, to_bypass
from p2pannex.cluster.uploads import QUEUE, ClusterUpload
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Download, Lock, Removal, Service, Upload
from p2pannex.system.background import Background
from p2pannex.system.clock import Clock, SystemClock

T = TypeVar("T")

Wanted = Callable[[Key, bytes | None, Sequence[Node]], Awaitable[Iterable[Node]]]
"""Which of the nodes content should go to: the key, the client's name for it, the nodes that can be reached."""


def counts_as_nodes(uuid: str) -> bool:
    """Whether git-annex takes `uuid` for a cluster's (version 8, beginning with "ac"): it counts the nodes instead."""
    return len(uuid) == 36 and uuid.startswith("ac") and uuid[14] == "8"


class NotAllAsked(RemoteError):
    """No node has the content that was asked for, as far as they could be asked. `silent` are those that could not.
    `some_answered` is whether any has said that it has not."""

    def __init__(self, message: str, silent: frozenset[str], *, some_answered: bool) -> None:
        super().__init__(message)
        self.silent = silent
        self.some_answered = some_answered


class Cluster(Gateway):
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
        self._admission = Admission()
        self._bypass: frozenset[str] = frozenset()
        self._services: dict[tuple[Node, frozenset[str]], Service] = {}
        self._nursery: trio.Nursery | None = None
        self._background: Background | None = None
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
            best += ranked(node for node in ways if allowed(node, self._bypass))[:1]
        return ranked(best)

    def _service(self, node: Node, asked: Sequence[Node]) -> Service:
        """A node's service, told of the gateways that requests have come through, ourselves included, and of what it
        need not ask since one of `asked` does."""
        bypass = self._bypass if self.gateway is None else self._bypass | {self.gateway}
        bypass = to_bypass(node, asked, self.nodes, bypass)
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
        stall_budget: StallBudget | None = None,
    ) -> tuple[dict[Node, T], list[str]]:
        """Ask nodes, all at once: the answers, and in words what kept the others from answering."""
        asked = list(nodes)
        return await ask_all(asked, lambda node: question(node, self._service(node, asked)), stall_budget)

    # The shape --------------------------------------------------------------------------------------------------

    async def check_present(self, key: Key) -> bool:
        """True as soon as one node says so; False only where every node does, since a client may believe it."""
        problems: list[str] = []
        silent: set[str] = set()
        nodes = await self.order(key, self._reach())
        for node in nodes:
            service = self._service(node, nodes)
            try:
                if await node.ask(service.check_present, key):
                    return True
            except (RemoteError, ConnectionLost) as error:
                problems.append(f"{node.name}: {error}")
                silent.add(node.uuid)
        if problems:
            message = "not every node could be asked: " + "; ".join(problems)
            raise NotAllAsked(message, frozenset(silent), some_answered=len(silent) < len(nodes))
        await trio.lowlevel.checkpoint_if_cancelled()
        return False

    async def lock(self, key: Key) -> Lock | None:
        """The first node's lock. One that a node may have taken without our hearing of it keeps content, no more."""
        nodes = await self.order(key, self._reach())
        for node in nodes:
            service = self._service(node, nodes)
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
        nodes = await self.choose(key, file, self._reach())
        # A node that is known not to answer would have every upload wait for its timeout.
        nodes = [node for node in nodes if node.healthy] or nodes
        if not nodes:
            raise RemoteError("no node wants this content")
        await self._admission.enter(nodes)
        stall_budget = StallBudget()
        try:
            targets, present, problems = await open_uploads(
                nodes, functools.partial(self._service, asked=nodes), key, file, stall_budget
            )
            if not targets and not present:
                raise RemoteError("no node could store the content: " + "; ".join(problems))
            if not targets:
                return AlreadyHave(self._named(present))
            upload = ClusterUpload(
                self._nursery, targets, present, self._named, self._admission, stall_budget, queue=self.queue
            )
            nodes = [node for node in nodes if all(node not in target.nodes for target in targets)]
            return upload
        finally:
            for node in nodes:  # those that take part in the upload keep their place until it is done
                self._admission.leave(node)

    async def choose(self, key: Key, file: bytes | None, nodes: Sequence[Node]) -> list[Node]:
        """Those of the nodes that can be reached where content is to be stored: what `wanted` says."""
        if self.wanted is None:
            return list(nodes)
        return list(await self.wanted(key, file, nodes))

    async def order(self, key: Key, nodes: list[Node]) -> list[Node]:
        """The nodes, which come by health and cost, in the order in which to ask them for this content until one has
        it."""
        return nodes

    async def presence(self, key: Key, nodes: Iterable[Node]) -> dict[Node, bool]:
        """Whether nodes have a content, all asked at once. Those that do not answer, or did not the last time, are
        left out."""

        async def ask(node: Node, service: Service) -> bool:
            return await node.ask(service.check_present, key)

        answers, _ = await self._ask_all([node for node in nodes if node.healthy], ask, StallBudget())
        return answers

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        nodes = await self.order(key, self._reach())
        candidates = ((node, self._service(node, nodes)) for node in nodes)
        download = ClusterDownload(key, offset, file, candidates, self._admission)
        try:
            await download.open()
        except BaseException:
            await download.aclose()
            raise
        return download

    # Its life ---------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._background = await Background().__aenter__()
        self._nursery = self._background.nursery
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        background, self._background, self._nursery = self._background, None, None
        assert background is not None
        background.stop()
        try:
            await self.aclose()
        finally:
            await background.__aexit__(kind, error, trace)

    async def aclose(self) -> None:
        """Close what was opened for the clients of a gateway. The nodes' own services belong to whoever made them."""
        services, self._services = self._services, {}
        for (node, _), service in services.items():
            if service is not node.service:
                await service.aclose()
