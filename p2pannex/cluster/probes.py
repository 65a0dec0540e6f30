"""Probes of the nodes that failed, in the background, so that no request has to wait to learn whether they reply.

Several processes may serve one cluster. Then one of them at a time probes a node (`Memory.claim`), and the others learn
the result from the node's `Memory`.

A process may have started after the node failed, and may be short: it may end before a probe gets a reply. If all
processes were like that, a node that is up again would never be found. So if a probe is due when a node is added,
requests that need this node wait for the first probe (`settle`), but not longer than `PATIENCE` in all. Without a reply
by then, the next back-off begins, so the next process does not wait again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Sequence

import trio

from p2pannex.cluster.node import Node
from p2pannex.service import Service

PATIENCE = 1.0
"""Seconds that requests wait for the first probe of a node that failed before this process began."""

OTHERS_PROBE = 1.0
"""Seconds between two looks at the result of another process's probe."""


class Probes:
    """The probes of one cluster. `nodes` returns its nodes, and `service` the service of one of them.

    They run in `nursery`, which the cluster sets while it is entered.
    """

    def __init__(self, nodes: Callable[[], Collection[Node]], service: Callable[[Node], Service]) -> None:
        self.nursery: trio.Nursery | None = None
        self._nodes = nodes
        self._service = service
        self._running: dict[Node, trio.CancelScope] = {}
        self._undecided: dict[Node, trio.Event] = {}
        """The nodes whose first probe is due, or is running, from before this process."""

    def watch(self, node: Node) -> None:
        """Probe this node after each of its failures until it is healthy, as long as it belongs to the cluster."""
        node.health.on_failure = functools.partial(self._start, node)
        node.refresh()
        if node.health.failures:  # in an earlier process
            if trio.current_time() >= node.health.back_at:
                self._undecided[node] = trio.Event()
            node.health.await_probe()

    def stop(self) -> None:
        """End all probes, without a result. To be called before the services of nodes are closed: a probe that met a
        closed service would record a failure of the node."""
        self.nursery = None
        for scope in self._running.values():
            scope.cancel()

    async def settle(self, nodes: Iterable[Node]) -> None:
        """Wait until it is decided which of these nodes reply again, if they failed before this process began."""
        if not self._undecided:
            return
        deadline = trio.current_time() + PATIENCE
        for node in nodes:
            undecided = self._undecided.get(node)
            if undecided is not None:
                with trio.move_on_at(deadline):
                    await undecided.wait()
                if not undecided.is_set():
                    node.health.postpone()
                    self._decided(node)

    async def recovered(self, suspended: Sequence[Node]) -> tuple[list[Node], list[Node]]:
        """`settle`, for nodes that got no request. Returns those that reply again, and those still suspended."""
        if self._undecided:
            await self.settle(suspended)
            return [node for node in suspended if not node.suspended], [node for node in suspended if node.suspended]
        return [], list(suspended)

    def _decided(self, node: Node) -> None:
        undecided = self._undecided.pop(node, None)
        if undecided is not None:
            undecided.set()

    def _start(self, node: Node) -> bool:
        if self.nursery is None or node not in self._nodes():
            return False
        if node not in self._running:
            self._running[node] = trio.CancelScope()
            self.nursery.start_soon(self._probe, node)
        return True

    async def _probe(self, node: Node) -> None:
        try:
            with self._running[node]:
                await self._probe_until_healthy(node)
        finally:
            del self._running[node]
            self._decided(node)
            node.health.no_probe()

    async def _probe_until_healthy(self, node: Node) -> None:
        while not node.healthy and node in self._nodes():
            if trio.current_time() < node.health.back_at:
                await trio.sleep_until(node.health.back_at)
                continue
            with node.health.claim() as claimed:
                if claimed:
                    node.refresh()  # another process may just have finished its probe
                    if not node.healthy and trio.current_time() >= node.health.back_at:
                        await node.probe(self._service(node))
            self._decided(node)
            if not claimed:
                await trio.sleep(OTHERS_PROBE)
                node.refresh()


__all__ = ["OTHERS_PROBE", "PATIENCE", "Probes"]
