"""How long nodes that do nothing may hold up an upload: for one timeout in all, however many they are.

A node that hangs is known by the time that passes, and by nothing else. Where several hang, each at a byte that is only
reached after the one before was left out, their timeouts would add up. So time that is waited in vain comes out of one
account. A wait after which more may follow gets half of what is left of it; the last one, for the outcomes, the rest:

    T/2 + T/4 + ... + rest  <=  T

Only waits count in which everybody waits for one node, and which that node does not end by doing something. A node that
is slow may hold the others up for as long as it likes.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from p2pannex.cluster.node import Node

N = TypeVar("N", bound=Node)
T = TypeVar("T")


class Timed(Protocol):
    """A node, or a part of an upload: how many seconds it may take for a block."""

    @property
    def timeout(self) -> float: ...


class StallBudget:
    """What is left of an upload's timeout. Nodes have timeouts of their own, so it is counted as a share of them."""

    def __init__(self) -> None:
        self._left = 1.0

    def pause(self, node: Timed) -> float:
        """Seconds that the upload may be held up by this node before it goes on without it."""
        return node.timeout * self._left / 2

    def rest(self, node: Timed) -> float:
        """Seconds for this node's outcome, which is the last that is waited for."""
        return node.timeout * self._left

    def spend(self, node: Timed, seconds: float) -> None:
        """So long was waited for this node in vain."""
        if node.timeout > 0:
            self._left = max(0.0, self._left - seconds / node.timeout)
