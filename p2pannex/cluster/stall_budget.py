"""Hanging nodes delay an upload by at most one timeout in total, and take no time away that another node needs.

Only the time that passes shows that a node hangs. If several nodes hang, each at a later byte than the one before, they
are noticed one after the other, and their timeouts would add up. So all time that is waited in vain is taken from one
budget, which is the timeout T. But parts of it are reserved, so that a node which replies loses no time to nodes that
hang:

- T/2 is for the wait for the outcomes. All nodes use it at the same time.
- T/8n belongs to each of the n nodes. It is for the waits before the end, which follow one another.

A wait for a node before the end may take what is left of T, except the reserves of the end and of all other nodes. The
wait for the outcomes gets all that is left.

**The sum is at most T, and no reserve is touched.** Let `left` be what is left, and m the number of nodes that are not
left out. Then `left >= T/2 + m T/8n`:

1. At first this is true: m = n, and `T >= T/2 + T/8`.
2. A wait in vain takes at most `left - T/2 - (m-1) T/8n`, and its node is left out. So afterwards
   `left >= T/2 + (m-1) T/8n`, and m is one less.

So a wait before the end can always take T/8n at least, and the wait for the outcomes T/2 at least, whatever the other
nodes did.

A wait counts if the whole upload waits for one node and the node is left out at its end. Only the wait counts: what it
takes us to close the connection, or to kill the node's program, happens in a task of its own and is not waited for. A
slow node that keeps taking content may delay the others for as long as it needs.

One deadline for the whole upload would be simpler, but an upload may take hours, and a deadline for its end alone would
not limit the waits before. Fixed shares for each node would need no common budget, but then a slow node would get only
its share, also while no other node hangs.
"""

from __future__ import annotations

from typing import Protocol

FOR_THE_END = 1 / 2
FOR_THE_NODES = 1 / 8
"""Shares of the timeout: for the outcomes, and for all nodes together before the end."""


class Timed(Protocol):
    """A node, or a target of an upload. `timeout`: how many seconds it may take for a block."""

    @property
    def timeout(self) -> float: ...


class StallBudget:
    """The budget of one upload to `nodes` nodes. It is counted in shares of a timeout, since each node has its own."""

    def __init__(self, nodes: int) -> None:
        self._left = 1.0
        self._remaining = nodes
        self._own = FOR_THE_NODES / max(nodes, 1)

    def pause(self, node: Timed) -> float:
        """Seconds that the upload may wait for this node before it continues without the node."""
        others = max(self._remaining - 1, 0)
        return node.timeout * (self._left - FOR_THE_END - others * self._own)

    def rest(self, node: Timed) -> float:
        """Seconds that the upload may wait for this node's outcome, the last wait."""
        return node.timeout * self._left

    def spend(self, node: Timed, seconds: float) -> None:
        """Record that the upload waited `seconds` for this node in vain, and left it out."""
        if node.timeout > 0:
            # What is more than that is not its fault: we noticed late that the time was over, or the node may have been
            # hashing what it has (`Node.ask_to_hash`). Such a node may delay the others beyond the timeout.
            seconds = min(seconds, self.pause(node))
            self._left -= max(0.0, seconds) / node.timeout
        self._remaining = max(self._remaining - 1, 0)
