"""Sends one request to several nodes at the same time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import trio

from p2pannex.cluster.node import Node
from p2pannex.cluster.stall_budget import StallBudget
from p2pannex.errors import ConnectionLost, RemoteError

N = TypeVar("N", bound=Node)
T = TypeVar("T")


async def ask_all(
    nodes: Iterable[N], request: Callable[[N], Awaitable[T]], stall_budget: StallBudget | None = None
) -> tuple[dict[N, T], list[str]]:
    """Call `request` for all nodes at the same time. Returns the replies, and one line for each node that failed.

    With `stall_budget`, a node is left out if its reply takes longer than the budget allows after the first reply.
    """
    replies: dict[N, T] = {}
    problems: list[str] = []
    waiting: dict[N, trio.CancelScope] = {}
    first = last = trio.current_time()

    def limit_waiting() -> None:
        if stall_budget is not None and replies:
            for node, scope in waiting.items():
                scope.deadline = first + stall_budget.pause(node)

    async def ask(node: N) -> None:
        nonlocal first, last
        with trio.CancelScope() as waiting[node]:
            limit_waiting()
            try:
                reply = await request(node)
            except (RemoteError, ConnectionLost) as error:
                problems.append(f"{node.name}: {error}")
            else:
                last = trio.current_time()
                first = first if replies else last
                replies[node] = reply
        if waiting.pop(node).cancelled_caught:
            node.failed()
            problems.append(f"{node.name} did not reply")
        limit_waiting()
        if stall_budget is not None and not waiting and replies:
            stall_budget.spend(node, trio.current_time() - last)

    nodes = list(nodes)
    async with trio.open_nursery() as nursery:
        for node in nodes[1:]:
            nursery.start_soon(ask, node)
        for node in nodes[:1]:
            await ask(node)  # the first node needs no task of its own
    return replies, problems
