"""Sends one request to several nodes at the same time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Generic, TypeVar

import trio

from p2pannex.cluster.node import Node
from p2pannex.cluster.stall_budget import StallBudget
from p2pannex.errors import ConnectionLost, RemoteError

N = TypeVar("N", bound=Node)
T = TypeVar("T")


Failures = dict[str, str]
"""The nodes that failed, by name, each with the reason: one line for people."""


class NotDelivered(RemoteError):
    """None of several special remotes stored the content. `failures`: the reason of each."""

    def __init__(self, failures: Failures) -> None:
        super().__init__("; ".join(sorted(failures.values())))
        self.failures = failures


def listed(failures: Mapping[str, str]) -> str:
    """Failures as a part of one line."""
    return "; ".join(f"{name}: {reason}" for name, reason in failures.items())


def left_out(nodes: Iterable[Node]) -> Failures:
    """Nodes that get no request, because they failed before."""
    return {node.name: node.health.summary for node in nodes}


async def ask_all(nodes: Iterable[N], request: Callable[[N], Awaitable[T]]) -> tuple[dict[N, T], Failures]:
    """Call `request` for all nodes at the same time. Returns the replies, and the failures."""
    replies: dict[N, T] = {}
    failures: Failures = {}

    async def ask(node: N) -> None:
        try:
            replies[node] = await request(node)
        except (RemoteError, ConnectionLost) as error:
            failures[node.name] = str(error)

    nodes = list(nodes)
    async with trio.open_nursery() as nursery:
        for node in nodes[1:]:
            nursery.start_soon(ask, node)
        for node in nodes[:1]:
            await ask(node)  # the first node needs no task of its own
    return replies, failures


async def ask_in_time(
    nodes: Iterable[N],
    request: Callable[[N], Awaitable[T]],
    stall_budget: StallBudget,
    background: trio.Nursery,
    discard: Callable[[T], Awaitable[None]] | None = None,
) -> tuple[dict[N, T], Failures]:
    """`ask_all`, which leaves a node out if its reply takes longer than the budget allows after the first reply.

    The budget allows no time for hashing, unlike `Node.ask_to_hash`. A node that hashes a large copy before it replies
    to PUT is therefore left out, and counts as failed. The other nodes reply within moments; with the time that hashing
    takes, one node that hangs would hold up each upload of 100 GB for hours.

    The requests run in `background`. Ending one that takes too long may take time as well, for example to kill a
    program. That is not waited for, and not charged to the budget. `discard` gets a reply that comes after all.
    """
    calls = {node: _Call(node, request, discard) for node in nodes}
    if len(calls) < 2:  # no other node waits for it
        return await ask_all(calls, request)
    for call in calls.values():
        background.start_soon(call.run)
    try:
        first = await _first_reply(list(calls.values()))
        # All waits begin at the first reply and run at the same time, so the longest is the only one to charge.
        deadlines = {node: first + stall_budget.pause(node) for node in calls}
        for node, call in sorted(calls.items(), key=lambda each: deadlines[each[0]]):
            with trio.move_on_at(deadlines[node]):
                await call.done.wait()
        for call in calls.values():
            if call.problem is not None and not isinstance(call.problem, RemoteError | ConnectionLost):
                raise call.problem
    except BaseException:
        for call in calls.values():
            call.abandon()
        with trio.CancelScope(shield=True):
            for call in calls.values():
                await call.done.wait()
                await call.discard()
        raise
    late = [node for node, call in calls.items() if not call.done.is_set()]
    for node in late:
        calls[node].abandon()
        node.failed()
    for node in sorted(late, key=stall_budget.pause, reverse=True)[:1]:
        stall_budget.spend(node, deadlines[node] - max([first, *(c.ended for c in calls.values() if c.done.is_set())]))
    replies = {node: call.reply for node, call in calls.items() if call.done.is_set() and call.reply is not None}
    failures = {node.name: str(call.problem) for node, call in calls.items() if call.problem is not None}
    return replies, failures | {node.name: "it did not reply in time" for node in late}


class _Call(Generic[N, T]):
    """One request in a task of its own, which can be abandoned. `reply` or `problem` is set when it is `done`."""

    def __init__(
        self, node: N, request: Callable[[N], Awaitable[T]], discard: Callable[[T], Awaitable[None]] | None
    ) -> None:
        self._node = node
        self._request = request
        self._discard = discard
        self._scope = trio.CancelScope()
        self._abandoned = False
        self.done = trio.Event()
        self.changed = trio.Event()
        """Set when it is done; `_first_reply` replaces it by one that all calls share."""
        self.ended = 0.0
        self.reply: T | None = None
        self.problem: Exception | None = None

    async def run(self) -> None:
        try:
            with self._scope:
                self.reply = await self._request(self._node)
        except Exception as error:  # raised again by `ask_in_time`, unless it is the node's
            self.problem = error
        finally:
            self.ended = trio.current_time()
            self.done.set()
            self.changed.set()
            if self._abandoned:
                await self.discard()

    async def discard(self) -> None:
        reply, self.reply = self.reply, None
        if reply is not None and self._discard is not None:
            await self._discard(reply)

    def abandon(self) -> None:
        """Cancel it; its reply is not wanted any more."""
        self._abandoned = True
        self._scope.cancel()


async def _first_reply(calls: list[_Call[N, T]]) -> float:
    """Wait for the first reply, or until all have failed. Returns when it came."""
    while not any(call.reply is not None for call in calls) and not all(call.done.is_set() for call in calls):
        changed = trio.Event()
        for call in calls:
            call.changed = changed
        await changed.wait()
    return min((call.ended for call in calls if call.reply is not None), default=trio.current_time())
