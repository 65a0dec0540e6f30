"""Nodes that come and go in any order, each with a service that is open meanwhile."""

from __future__ import annotations

from types import TracebackType

import pytest
import trio
import trio.testing

from p2pannex.cluster import Node
from p2pannex.errors import RemoteError
from p2pannex.gateways.open_nodes import OpenNodes
from p2pannex.stores.memory import MemoryStore


class Watched(MemoryStore):
    """Tells whether it is open. Where it says so, it does not open, or does not close, in order."""

    def __init__(self, uuid: str, *, fails: str = "") -> None:
        super().__init__(uuid)
        self.open = False
        self.fails = fails

    async def __aenter__(self) -> Watched:
        if self.fails == "opening":
            raise RemoteError("it does not open")
        self.open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open = False
        if self.fails == "closing":
            raise RemoteError("it does not close")


async def test_in_any_order_and_after_their_transfers(autojump_clock: trio.testing.MockClock) -> None:
    services = [Watched("u1"), Watched("u2", fails="closing"), Watched("u3")]
    nodes = [Node(service.uuid, service) for service in services]
    held = OpenNodes()

    def opened() -> list[bool]:
        return [service.open for service in services]

    async with trio.open_nursery() as nursery:
        for node in nodes:
            await held.open(node, nursery)
        assert opened() == [True, True, True]
        nodes[0].transfers = 1
        held.leave(nodes[0])
        held.leave(nodes[1])
        await trio.sleep(10)
        assert opened() == [True, False, True]
        nodes[0].transfers = 0
        await trio.sleep(2)
        assert opened() == [False, False, True]
        await held.close(10)
        assert opened() == [False, False, False]


async def test_one_that_does_not_open_is_not_held() -> None:
    held = OpenNodes()
    async with trio.open_nursery() as nursery:
        with pytest.raises(RemoteError, match="does not open"):
            await held.open(Node("u", Watched("u", fails="opening")), nursery)
        await held.close(1)


async def test_what_takes_too_long_to_close_ends_with_the_nursery(autojump_clock: trio.testing.MockClock) -> None:
    held, service = OpenNodes(), Watched("u")
    node = Node("u", service)
    async with trio.open_nursery() as nursery:
        await held.open(node, nursery)
        node.transfers = 1
        await held.close(5)
        assert service.open
        nursery.cancel_scope.cancel()
    assert not service.open
