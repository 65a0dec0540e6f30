"""Limits how many transfers each node has at a time; further transfers wait in a queue.

A download takes one slot, at one node. An upload takes one slot at each of its nodes, *all at the same moment or none*.
The slot at a node is given back as soon as that node is done, whatever the other nodes do. Presence checks, removals
and locks are not transfers and need no slot.

**There is no deadlock.** A transfer that holds a slot never waits for another slot, so transfers cannot wait for each
other in a circle. If slots were taken one by one, two uploads could each hold the slot that the other waits for.

**Every transfer gets its turn**, as long as transfers end. The transfer that has waited longest has the first claim on
one slot at each of its nodes; later transfers get only the slots beyond that. So each of its nodes comes to have a free
slot for it, and then it starts. The waiting transfers together claim at most one slot of a node. So if many uploads
wait for one slow node, they keep one slot of each other node empty, and the other slots stay in use.
"""

from __future__ import annotations

from collections.abc import Collection

import trio

from p2pannex.cluster.node import Node
from p2pannex.errors import RemoteError

LONGEST_WAIT = 3600.0
"""Seconds that a transfer waits for its slots. Earlier transfers may be large; node timeouts end those that stall."""


class _Waiting:
    def __init__(self, nodes: Collection[Node]) -> None:
        self.nodes = nodes
        self.admitted = trio.Event()


class Admission:
    """The slots of a cluster's nodes, and the queue of waiting transfers. A node belongs to one cluster only."""

    def __init__(self) -> None:
        self._queue: list[_Waiting] = []

    async def enter(self, nodes: Collection[Node]) -> None:
        """Take a slot at each of the nodes. The caller gives each slot back with `leave`. RemoteError after
        `LONGEST_WAIT`."""
        if not self._queue and not any(node.busy for node in nodes):
            await trio.lowlevel.checkpoint_if_cancelled()
            for node in nodes:
                node.transfers += 1
            return
        waiting = _Waiting(nodes)
        self._queue.append(waiting)
        try:
            self._admit()
            with trio.move_on_after(LONGEST_WAIT):
                await waiting.admitted.wait()
        except BaseException:
            self._give_up(waiting)
            raise
        if not waiting.admitted.is_set():
            self._give_up(waiting)
            busy = ", ".join(sorted(node.name for node in nodes if node.busy))
            raise RemoteError(f"too many transfers at once, at {busy or 'every node'}; try again later")

    def leave(self, node: Node) -> None:
        """Give a slot back."""
        node.transfers -= 1
        self._admit()

    def _give_up(self, waiting: _Waiting) -> None:
        if waiting.admitted.is_set():  # admitted at the moment it was cancelled
            for node in waiting.nodes:
                node.transfers -= 1
        else:
            self._queue.remove(waiting)
        self._admit()

    def _admit(self) -> None:
        claimed: set[Node] = set()
        for waiting in list(self._queue):
            if all(node.transfers + (node in claimed) < node.limit for node in waiting.nodes):
                self._queue.remove(waiting)
                for node in waiting.nodes:
                    node.transfers += 1
                waiting.admitted.set()
            else:
                claimed.update(waiting.nodes)
