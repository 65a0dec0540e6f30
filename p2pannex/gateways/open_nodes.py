"""Keeps the services of nodes open for as long as a cluster has the nodes.

A service may run background tasks in its ``async with`` block. Such blocks end in the reverse order of their start, but
nodes are added and removed in any order. So each block is in a task of its own. A node that is removed finishes its
transfers before its service is closed.
"""

from __future__ import annotations

import logging

import trio

from p2pannex.cluster.node import Node
from p2pannex.errors import ConnectionLost, RemoteError

log = logging.getLogger(__name__)

TRANSFERS_INTERVAL = 1.0
"""Seconds between two checks whether a node that is to be closed still has transfers."""

CLOSE_TIMEOUT = 10.0
"""Seconds that closing all nodes may take, at the end of a gateway."""


class OpenNodes:
    """The open nodes. Their tasks run in the nursery that is passed to `open`."""

    def __init__(self) -> None:
        self._leaving: dict[Node, trio.Event] = {}
        self._closed: dict[Node, trio.Event] = {}

    async def open(self, node: Node, nursery: trio.Nursery) -> None:
        """Open the node's service, and keep it open until `leave`. Raises the errors of opening it."""
        await nursery.start(self._keep_open, node)

    def leave(self, node: Node) -> None:
        """Close the node's service as soon as it has no transfers."""
        self._leaving[node].set()

    async def close(self, seconds: float = CLOSE_TIMEOUT) -> None:
        """Close all services. Waits for at most `seconds`; services that take longer are ended with the nursery."""
        with trio.move_on_after(seconds, shield=True):
            for leaving in self._leaving.values():
                leaving.set()
            for closed in list(self._closed.values()):
                await closed.wait()

    async def _keep_open(self, node: Node, *, task_status: trio.TaskStatus[None]) -> None:
        leaving, closed = trio.Event(), trio.Event()
        self._leaving[node], self._closed[node] = leaving, closed
        opened = False
        try:
            async with node.service:
                opened = True
                task_status.started()
                await leaving.wait()
                while node.transfers:  # noqa: ASYNC110 - a poll once a second is enough here
                    await trio.sleep(TRANSFERS_INTERVAL)
        except (RemoteError, ConnectionLost) as error:
            if not opened:
                raise
            log.warning("%s: %s", node.name, error)  # an error in closing must not end the other nodes
        finally:
            del self._leaving[node], self._closed[node]
            closed.set()
