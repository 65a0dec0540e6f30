"""The status of a gateway directory's nodes: whether each replies, how far its clock is from ours, how much it holds.

`status.py` is about the processes that serve the directory; this is about the nodes. `p2pannex cluster status` prints
what `StatusReader` reads.
"""

from __future__ import annotations

import time

import attrs
import trio

from p2pannex.cluster import Node
from p2pannex.errors import ConnectionLost, RemoteError, Unsupported
from p2pannex.gateways.directory.cluster import GatewayDirectory
from p2pannex.gateways.directory.status import serving
from p2pannex.gateways.directory.trial import try_requests
from p2pannex.service import Service
from p2pannex.stores.external.store import ExternalStore

RECOUNT = 60.0
"""Seconds between two counts of keys, for which every directory of a store is read."""


@attrs.frozen
class NodeStatus:
    """One node. `node` is None if the node could not be opened; then `problem` says why, and nothing else is known.

    A node that was opened, but does not reply or fails at a request, has a `problem` too.
    """

    name: str
    node: Node | None = None
    wanted: str = ""
    """Its preferred content expression; empty if it has none."""
    transfers: int = 0
    """Its running transfers, in all processes of this machine that serve the directory."""
    milliseconds: float | None = None
    """How long the reply took; None if no reply came."""
    clock_offset: int | None = None
    """Seconds by which its clock is ahead of ours; None if it has no clock that removal deadlines could use."""
    keys: int | None = None
    """How many keys it holds; None if they cannot be counted. The protocol has no request for it, so only stores on
    this machine can be counted."""
    remark: str = ""
    """What the node does not do, though it works; empty in most cases."""
    problem: str | None = None
    """Why requests fail; None if they succeed."""
    suspended: float | None = None
    """Seconds until the next probe, if the gateway sends the node no requests now; otherwise None."""


@attrs.frozen
class ClusterStatus:
    """The nodes, by name, how many processes of this machine serve the directory, and the least number of copies."""

    nodes: tuple[NodeStatus, ...]
    processes: int
    copies: int = 1


class StatusReader:
    """Reads the status of a gateway's nodes each time that `read` is called. Keys are counted once a minute at most,
    because counting reads all directories of a store. The caller keeps `gateway` open while `read` runs."""

    def __init__(self, gateway: GatewayDirectory) -> None:
        self._gateway = gateway
        self._counted: dict[str, tuple[float, int]] = {}

    async def read(self) -> ClusterStatus:
        """Try requests (`trial`) at every node at the same time, and wait for the node's timeout at most.

        A node's error is not raised; it is in `NodeStatus.problem`.
        """
        gateway = self._gateway
        processes = serving(gateway.path)
        found = [NodeStatus(name, problem=problem) for name, problem in gateway.problems.items()]

        async def add(node: Node) -> None:
            found.append(await self._of(node))

        async with trio.open_nursery() as nursery:
            for node in gateway.nodes:
                if node.name not in gateway.problems:
                    nursery.start_soon(add, node)
        transfers = {each.name: sum(process.transfers.get(each.name, 0) for process in processes) for each in found}
        nodes = [attrs.evolve(each, transfers=transfers[each.name]) for each in found]
        return ClusterStatus(tuple(sorted(nodes, key=lambda each: each.name)), len(processes), gateway.copies)

    async def _of(self, node: Node) -> NodeStatus:
        config = self._gateway.config.nodes.get(node.name)  # None if it has just been removed
        node.refresh()
        suspended = max(0.0, node.health.back_at - trio.current_time()) if node.health.suspended else None
        wanted = config.wanted if config is not None else ""
        status = NodeStatus(node.name, node, wanted, suspended=suspended)
        began = time.perf_counter()
        try:
            offset = await node.ask(self._clock_offset, node.service)
            milliseconds = round(1000 * (time.perf_counter() - began), 1)
            remark = await node.ask(try_requests, node.service)
            status = attrs.evolve(status, clock_offset=offset, milliseconds=milliseconds, remark=remark)
            return attrs.evolve(status, keys=await self._keys(node))
        except (RemoteError, ConnectionLost) as error:
            return attrs.evolve(status, problem=str(error))

    async def _clock_offset(self, service: Service) -> int | None:
        if isinstance(service, ExternalStore):  # it uses our clock, so another request shows how fast it replies
            await service.availability()
            return 0
        try:
            return await service.timestamp() - int(self._gateway.clock.monotonic())
        except Unsupported:
            return None

    async def _keys(self, node: Node) -> int | None:
        before, keys = self._counted.get(node.uuid, (-RECOUNT, 0))
        if trio.current_time() - before >= RECOUNT:
            count = getattr(node.service, "contents", None)
            if count is None:
                return None
            keys = (await trio.to_thread.run_sync(count)).keys
            self._counted[node.uuid] = trio.current_time(), keys
        return keys


__all__ = ["ClusterStatus", "NodeStatus", "StatusReader"]
