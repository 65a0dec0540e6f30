"""A node: a Service with a name, a cost, and a memory of how it has been doing.

Every question to a node goes through `Node.ask`, which puts a deadline on it, and remembers whether the node answered.
A node that did not is asked after the others for a while, twice as long each time; what it refuses in words
(`RemoteError`) says nothing against its health.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable
from typing import ParamSpec, TypeVar

import trio

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.service import Service

P = ParamSpec("P")
T = TypeVar("T")


COST = 100.0
"""annex-cost of a node for which nothing else was said."""

NODE_TIMEOUT = 30.0
"""Seconds that a node may leave a question, or a block of content, unanswered."""

TRANSFERS = 8
"""Uploads and downloads of a node at a time. A `Remote` has ten connections: two are left for questions."""

FIRST_BACK_OFF = 1.0
LONGEST_BACK_OFF = 60.0
"""Seconds for which a node that failed comes after the others: the first time, and at most."""


class Node:
    """One repository of a cluster.

    `cost` is as in annex-cost: the cheaper is asked first. `timeout` is in seconds. `limit` is how many transfers it
    has at a time; others wait. `via` are the gateways on the way to it: a client that came through one of them has it
    without us. The node does not own its service: whoever made that closes it.
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
        """How often in a row it did not answer."""
        self._back_at = -float("inf")

    @property
    def uuid(self) -> str:
        return self.service.uuid

    @property
    def busy(self) -> bool:
        """Whether it has as many transfers as it may have."""
        return self.transfers >= self.limit

    @property
    def healthy(self) -> bool:
        """Whether it answered the last time, or has been left alone long enough to be tried again."""
        return not self.failures or trio.current_time() >= self._back_at

    async def ask(self, question: Callable[P, Awaitable[T]], /, *args: P.args, **named: P.kwargs) -> T:
        """Call a method of this node's service, or of something it gave. ConnectionLost where that takes longer than
        `timeout`."""
        with trio.move_on_after(self.timeout):
            try:
                answer = await question(*args, **named)
            except RemoteError:
                self.answered()
                raise
            except ConnectionLost:
                self.failed()
                raise
            self.answered()
            return answer
        self.failed()
        raise ConnectionLost(f"{self.name} did not answer within {self.timeout:g} s")

    def answered(self) -> None:
        self.failures = 0

    def failed(self) -> None:
        # Jitter, so that many gateways do not all come back to a node in the moment that it is up again.
        wait = min(LONGEST_BACK_OFF, FIRST_BACK_OFF * 2.0 ** min(self.failures, 16)) * random.uniform(0.5, 1)  # noqa: S311
        self.failures += 1
        self._back_at = trio.current_time() + wait

    def __repr__(self) -> str:
        return f"<Node {self.name} {self.uuid}{'' if self.healthy else ', which does not answer'}>"


def ranked(nodes: Iterable[Node]) -> list[Node]:
    """The nodes in the order in which to ask them: by health, room for a transfer, cost, transfers."""
    return sorted(nodes, key=lambda node: (not node.healthy, node.busy, node.cost, node.transfers))
