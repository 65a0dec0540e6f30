"""Hanging nodes delay an upload by at most one timeout in total, however many nodes hang.

Only the time that passes shows that a node hangs. If several nodes hang, each at a later byte than the one before, they
are noticed one after the other, and their timeouts would add up. So all time that is waited in vain is taken from one
budget. A wait that others may follow gets half of what is left of the budget. The last wait, for the outcomes, gets all
that is left:

    T/2 + T/4 + ... + rest  <=  T

A wait counts if the whole upload waits for one node and the node is left out at its end. A slow node that keeps taking
content may delay the others for as long as it needs.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from p2pannex.cluster.node import Node

N = TypeVar("N", bound=Node)
T = TypeVar("T")


class Timed(Protocol):
    """A node, or a target of an upload. `timeout`: how many seconds it may take for a block."""

    @property
    def timeout(self) -> float: ...


class StallBudget:
    """The budget of one upload. It is counted as a share of a timeout, since each node has its own timeout."""

    def __init__(self) -> None:
        self._left = 1.0

    def pause(self, node: Timed) -> float:
        """Seconds that the upload may wait for this node before it continues without the node."""
        return node.timeout * self._left / 2

    def rest(self, node: Timed) -> float:
        """Seconds that the upload may wait for this node's outcome, the last wait."""
        return node.timeout * self._left

    def spend(self, node: Timed, seconds: float) -> None:
        """Record that the upload waited `seconds` for this node in vain."""
        if node.timeout > 0:
            self._left = max(0.0, self._left - seconds / node.timeout)
