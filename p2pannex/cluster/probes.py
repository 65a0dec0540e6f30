"""Probes of the nodes that failed, in the background, so that no request has to wait to learn whether they reply."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection

import trio

from p2pannex.cluster.node import Node
from p2pannex.service import Service


class Probes:
    """The probes of one cluster. `nodes` returns its nodes, and `service` the service of one of them.

    They run in `nursery`, which the cluster sets while it is entered.
    """

    def __init__(self, nodes: Callable[[], Collection[Node]], service: Callable[[Node], Service]) -> None:
        self.nursery: trio.Nursery | None = None
        self._nodes = nodes
        self._service = service
        self._probed: set[Node] = set()

    def watch(self, node: Node) -> None:
        """Probe this node after each of its failures until it is healthy, as long as it belongs to the cluster."""
        node.health.on_failure = functools.partial(self._start, node)

    def _start(self, node: Node) -> bool:
        if self.nursery is None or node not in self._nodes():
            return False
        if node not in self._probed:
            self._probed.add(node)
            self.nursery.start_soon(self._probe, node)
        return True

    async def _probe(self, node: Node) -> None:
        try:
            while not node.healthy and node in self._nodes():
                if trio.current_time() < node.health.back_at:
                    await trio.sleep_until(node.health.back_at)
                else:
                    await node.probe(self._service(node))
        finally:
            self._probed.discard(node)
            node.health.no_probe()
