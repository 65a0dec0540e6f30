"""One request to several nodes: which replies are waited for, and what becomes of those that come too late."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from p2pannex.cluster.ask import ask_all, ask_in_time
from p2pannex.cluster.node import Node
from p2pannex.cluster.stall_budget import StallBudget
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.simulator import Simulation, simulate

TIMEOUT = 8.0


def three() -> list[Node]:
    return [Node(name, MemoryStore(name), timeout=TIMEOUT) for name in "abc"]


async def replies_after(node: Node, seconds: dict[str, float], *, stubborn: bool = False) -> str:
    """A request that cannot be given up, if it is `stubborn`."""
    with trio.CancelScope(shield=stubborn):
        await trio.sleep(seconds.get(node.name, 0))
    return f"reply of {node.name}"


def test_every_failure_is_told() -> None:
    async def scenario(world: Simulation) -> None:
        async def request(node: Node) -> str:
            if node.name != "b":
                raise RemoteError("refused") if node.name == "a" else ConnectionLost("gone")
            return "reply"

        nodes = three()
        replies, problems = await ask_all(nodes, request)
        assert replies == {nodes[1]: "reply"}
        assert problems == {"a": "refused", "c": "gone"}

    simulate(scenario)


def test_a_node_that_hangs_is_left_out_named_and_recorded() -> None:
    async def scenario(world: Simulation) -> None:
        started = trio.current_time()
        async with trio.open_nursery() as background:
            nodes, budget = three(), StallBudget(3)
            allowed = budget.pause(nodes[1])
            replies, problems = await ask_in_time(
                nodes, lambda node: replies_after(node, {"b": 1000}), budget, background
            )
            assert trio.current_time() == pytest.approx(started + allowed)
            assert set(replies) == {nodes[0], nodes[2]}
            assert list(problems) == ["b"]
            assert [node.suspended for node in nodes] == [False, True, False]
            assert budget.pause(nodes[0]) < allowed, "the wait was charged"

    simulate(scenario)


@pytest.mark.parametrize("when", ["too late", "cancelled"])
def test_a_reply_that_is_not_wanted_any_more_is_discarded(when: str) -> None:
    """Whatever came of the request, for example an upload that keeps a connection, is closed."""
    discarded: list[str] = []

    async def discard(reply: str) -> None:
        discarded.append(reply)

    async def scenario(world: Simulation) -> None:
        slow = {"b": 100.0} if when == "too late" else {"a": 1.0, "b": 2.0, "c": 100.0}
        ask: Callable[[Node], Awaitable[str]] = lambda node: replies_after(node, slow, stubborn=True)  # noqa: E731
        async with trio.open_nursery() as background:
            with trio.move_on_after(3 if when == "cancelled" else 1000):
                await ask_in_time(three(), ask, StallBudget(3), background, discard)

    simulate(scenario)
    assert sorted(discarded) == (["reply of b"] if when == "too late" else [f"reply of {name}" for name in "abc"])
