"""A node: a Service with a name, a cost, and a record of its failures.

Every request to a node goes through `Node.ask`, which sets a deadline and records whether the node replied. A node that
did not reply comes after the other nodes for a while, twice as long after each failure in a row. A refusal
(`RemoteError`) is a reply, and no failure.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable
from typing import ParamSpec, TypeVar

import trio

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.service import Service, seconds_to_hash

P = ParamSpec("P")
T = TypeVar("T")


COST = 100.0
"""The annex-cost of a node without a configured cost."""

NODE_TIMEOUT = 30.0
"""Seconds that a node may take for a reply, or for a block of content."""

TRANSFERS = 8
"""Uploads and downloads of a node at a time. A `Remote` has ten connections: two are left for other requests."""

FIRST_BACK_OFF = 1.0
LONGEST_BACK_OFF = 60.0
"""Seconds for which a node comes after the others: after its first failure, and at most."""


class Node:
    """One repository of a cluster.

    `cost` is as in annex-cost: cheaper nodes get requests first. `timeout` is in seconds. `limit` is how many transfers
    the node has at a time; others wait. `via` are the UUIDs of the gateways on the route to it. Requests that came
    through one of these gateways do not go to the node: that gateway reaches it by itself.

    The caller that made `service` closes it; the node does not.
    """

    def __init__(
        self,
        name: str,
        service: Service,
        *,
        cost: float = COST,
        timeout: float = NODE_TIMEOUT,
        limit: int = TRANSFERS,
        via: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.service = service
        self.cost = cost
        self.timeout = timeout
        self.limit = limit
        self.via = frozenset(via)
        self.transfers = 0
        """Uploads and downloads that are open at this moment. `Admission` counts them."""
        self.failures = 0
        """How many times in a row it did not reply."""
        self._back_at = -float("inf")

    @property
    def uuid(self) -> str:
        return self.service.uuid

    @property
    def busy(self) -> bool:
        """Whether it has `limit` transfers already."""
        return self.transfers >= self.limit

    @property
    def healthy(self) -> bool:
        """Whether it replied the last time, or the back-off after its failure has passed."""
        return not self.failures or trio.current_time() >= self._back_at

    async def ask(self, request: Callable[P, Awaitable[T]], /, *args: P.args, **named: P.kwargs) -> T:
        """Call a method of this node's service, or of an object that the service returned. ConnectionLost if the call
        takes longer than `timeout`."""
        return await self.ask_to_hash(0, request, *args, **named)

    async def ask_to_hash(
        self, count: int, request: Callable[P, Awaitable[T]], /, *args: P.args, **named: P.kwargs
    ) -> T:
        """`ask`, for a call before whose end the node may have to hash, or to write to disk, `count` bytes.

        Only how long it takes shows whether a node hangs. A node that may be at work gets as much time in addition as
        that work takes a slow node; every other node gets `timeout` alone, however large the content is.
        """
        seconds = self.timeout + seconds_to_hash(count)
        with trio.move_on_after(seconds):
            try:
                reply = await request(*args, **named)
            except RemoteError:
                self.answered()
                raise
            except ConnectionLost:
                self.failed()
                raise
            self.answered()
            return reply
        self.failed()
        raise ConnectionLost(f"{self.name} did not reply within {seconds:g} s")

    def answered(self) -> None:
        self.failures = 0

    def failed(self) -> None:
        # Jitter, so that many gateways do not all return to a node at the moment when it is up again.
        wait = min(LONGEST_BACK_OFF, FIRST_BACK_OFF * 2.0 ** min(self.failures, 16)) * random.uniform(0.5, 1)  # noqa: S311
        self.failures += 1
        self._back_at = trio.current_time() + wait

    def __repr__(self) -> str:
        return f"<Node {self.name} {self.uuid}{'' if self.healthy else ', unhealthy'}>"


def ranked(nodes: Iterable[Node]) -> list[Node]:
    """The nodes in the order in which they get requests: by health, free slots, cost, number of transfers."""
    return sorted(nodes, key=lambda node: (not node.healthy, node.busy, node.cost, node.transfers))
