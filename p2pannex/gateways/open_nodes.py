"""Nodes whose services are kept open for as long as a cluster has them, each in a task of its own.

A service that does things in the background does them in its ``async with`` block; nodes come and go in any order,
which blocks cannot. A node that is taken away ends its transfers first.
"""

from __future__ import annotations

import logging

import trio

from p2pannex.cluster.node import Node
from p2pannex.errors import ConnectionLost, RemoteError

log = logging.getLogger(__name__)

TRANSFERS_INTERVAL = 1.0
"""Seconds between two looks whether a node that is to be closed has transfers still."""


class OpenNodes:
    """The nodes that are held. Their tasks are in the nursery that `open` is given."""

    def __init__(self) -> None:
        self._leaving: dict[Node, trio.Event] = {}
        self._closed: dict[Node, trio.Event] = {}

    async def open(self, node: Node, nursery: trio.Nursery) -> None:
        """Keep the node's service open until `leave`. Raises what opening it does."""
        await nursery.start(self._keep_open, node)

    def leave(self, node: Node) -> None:
        """Close the node's service as soon as no transfer needs it."""
        self._leaving[node].set()

    async def close(self, seconds: float) -> None:
        """Close all, and wait for it so long at most; what takes longer ends with the nursery."""
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
                while node.transfers:  # noqa: ASYNC110 - they are not to be disturbed, and there is no hurry
                    await trio.sleep(TRANSFERS_INTERVAL)
        except (RemoteError, ConnectionLost) as error:
            if not opened:
                raise
            log.warning("p2pannex: %s: %s", node.name, error)  # that one does not close well is no other's concern
        finally:
            del self._leaving[node], self._closed[node]
            closed.set()
