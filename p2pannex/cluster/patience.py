"""How long nodes that do nothing may hold up an upload: for one timeout in all, however many they are.

A node that hangs is known by the time that passes, and by nothing else. Where several hang, each at a byte that is only
reached after the one before was left out, their timeouts would add up. So time that is waited in vain comes out of one
account. A wait after which more may follow gets half of what is left of it; the last one, for the outcomes, the rest:

    T/2 + T/4 + ... + rest  <=  T

Only waits count in which everybody waits for one node, and which that node does not end by doing something. A node that
is slow may hold the others up for as long as it likes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

import trio

from p2pannex.cluster.node import Node
from p2pannex.protocol.errors import ConnectionLost, RemoteError

N = TypeVar("N", bound=Node)
T = TypeVar("T")


class Timed(Protocol):
    """A node, or a part of an upload: how many seconds it may take for a block."""

    @property
    def timeout(self) -> float: ...


class Patience:
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


async def ask_all(
    nodes: Iterable[N], question: Callable[[N], Awaitable[T]], patience: Patience | None = None
) -> tuple[dict[N, T], list[str]]:
    """Ask nodes, all at once: the answers, and in words what kept the others from answering.

    With `patience`, those that have not answered when it ends, counted from the first answer on, are left out.
    """
    answers: dict[N, T] = {}
    problems: list[str] = []
    waiting: dict[N, trio.CancelScope] = {}
    first = last = trio.current_time()

    def hurry() -> None:
        if patience is not None and answers:
            for node, scope in waiting.items():
                scope.deadline = first + patience.pause(node)

    async def ask(node: N) -> None:
        nonlocal first, last
        with trio.CancelScope() as waiting[node]:
            hurry()
            try:
                answer = await question(node)
            except (RemoteError, ConnectionLost) as error:
                problems.append(f"{node.name}: {error}")
            else:
                last = trio.current_time()
                first = first if answers else last
                answers[node] = answer
        if waiting.pop(node).cancelled_caught:
            node.failed()
            problems.append(f"{node.name} did not answer")
        hurry()
        if patience is not None and not waiting and answers:
            patience.spend(node, trio.current_time() - last)

    nodes = list(nodes)
    async with trio.open_nursery() as nursery:
        for node in nodes[1:]:
            nursery.start_soon(ask, node)
        for node in nodes[:1]:
            await ask(node)  # which needs no task of its own
    return answers, problems
