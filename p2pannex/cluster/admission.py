"""Who may transfer to and from nodes: each node has a limit, and whoever comes too many waits.

A download takes one place, at one node. An upload takes one at each node that it is for, *all in the same moment or
none*. So whoever holds a place waits for no other place, and nobody can wait in a circle: were the places taken one by
one, two uploads could each hold the one that the other waits for. A place is given back as soon as that node's part is
done, whatever the other nodes do.

Nobody waits forever either, as long as transfers end. Who waits longest has the first claim on a place at each of its
nodes: others take only what is left beside that. So each of its nodes comes to have a free place for it, and then it
goes in. One claim a node, not more: a node that is slow, and has many uploads waiting for it, keeps one place of each
other node empty, and the rest go on serving.

What is not a transfer (is it there, remove it, lock it) needs no place.
"""

from __future__ import annotations

from collections.abc import Collection

import trio

from p2pannex.cluster.node import Node
from p2pannex.errors import RemoteError

LONGEST_WAIT = 3600.0
"""Seconds that a transfer waits for its turn. Those before it may be large; their nodes' timeouts keep them going."""


class _Waiting:
    def __init__(self, nodes: Collection[Node]) -> None:
        self.nodes = nodes
        self.admitted = trio.Event()


class Admission:
    """The line before the nodes of a cluster. A node is in one cluster only."""

    def __init__(self) -> None:
        self._line: list[_Waiting] = []

    async def enter(self, nodes: Collection[Node]) -> None:
        """Take a place at each of the nodes; every one is given back with `leave`. RemoteError after a long wait."""
        if not self._line and not any(node.busy for node in nodes):
            await trio.lowlevel.checkpoint_if_cancelled()
            for node in nodes:
                node.transfers += 1
            return
        waiting = _Waiting(nodes)
        self._line.append(waiting)
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
        """Give a place back."""
        node.transfers -= 1
        self._admit()

    def _give_up(self, waiting: _Waiting) -> None:
        if waiting.admitted.is_set():  # in the moment in which it was cancelled
            for node in waiting.nodes:
                node.transfers -= 1
        else:
            self._line.remove(waiting)
        self._admit()

    def _admit(self) -> None:
        claimed: set[Node] = set()
        for waiting in list(self._line):
            if all(node.transfers + (node in claimed) < node.limit for node in waiting.nodes):
                self._line.remove(waiting)
                for node in waiting.nodes:
                    node.transfers += 1
                waiting.admitted.set()
            else:
                claimed.update(waiting.nodes)
