"""Connections that never send AUTH keep no client out, and delay none. Over real sockets where time matters."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from p2pannex.p2p.limits import Limits
from p2pannex.p2p.memory import memory_peers
from p2pannex.p2p.unauthenticated import ServerConnection, Unauthenticated
from p2pannex.transports.sockets import SocketAddress, TcpAddress
from tests.p2p.test_listen import serving


@pytest.mark.parametrize("address", [None, TcpAddress("127.0.0.1", 0)], ids=["unix", "tcp"])
async def test_a_flood_of_silent_connections_delays_nobody(tmp_path: Path, address: SocketAddress | None) -> None:
    """With the default limits: each of the 400 would be kept for two seconds if they waited for each other."""
    async with serving(tmp_path, address, limits=Limits()) as server:
        silent = [await server.raw() for _ in range(400)]
        with trio.fail_after(10):
            async with server.remote() as remote:
                await remote.timestamp()
        for stream in silent:
            await stream.aclose()


class Pool:
    """An `Unauthenticated`, and connections that it has or has closed."""

    def __init__(self, limits: Limits) -> None:
        self.pool = Unauthenticated(limits)
        self.all: list[ServerConnection] = []

    def come(self, address: str | None) -> float:
        wait = self.pool.make_room(address)
        if not wait:
            self.all.append(ServerConnection(f"#{len(self.all)}", address, memory_peers()[1]))
            self.pool.add(self.all[-1])
        return wait

    @property
    def open(self) -> list[str | None]:
        return [connection.address for connection in self.all if connection in self.pool]


LIMITS = Limits(unauthenticated=4, unauthenticated_per_address=3, unauthenticated_grace=10)


async def test_an_address_with_its_share_loses_its_oldest(autojump_clock: trio.testing.MockClock) -> None:
    pool = Pool(LIMITS)
    for address in "abaaaa":
        assert pool.come(address) == 0
    assert pool.open == ["b", "a", "a", "a"]
    assert [one.scope.cancel_called for one in pool.all] == [True, False, True, False, False, False]


async def test_if_all_places_are_taken_the_address_with_the_most_loses_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pool = Pool(LIMITS)
    for address in ("a", "a", "a", "b", "c", "d"):
        assert pool.come(address) == 0
    assert pool.open == ["a", "b", "c", "d"]


async def test_otherwise_the_oldest_has_a_grace_period(autojump_clock: trio.testing.MockClock) -> None:
    pool = Pool(LIMITS)
    for address in ("a", "b", None, "d"):
        pool.come(address)
    assert pool.come("e") == pytest.approx(10)
    await trio.sleep(10)
    assert pool.come("e") == 0
    assert pool.open == ["b", None, "d", "e"]


async def test_a_connection_with_a_valid_token_is_not_closed(autojump_clock: trio.testing.MockClock) -> None:
    pool = Pool(LIMITS)
    for address in ("a", "a", "a", "b"):
        pool.come(address)
    for connection in pool.all:
        connection.token_valid = True
    assert pool.come("a") == float("inf")


async def test_a_flood_is_logged_once_a_minute(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = Pool(LIMITS)
    for _ in range(100):
        pool.come("a")
    assert [record.getMessage() for record in caplog.records] == [
        "#0: no AUTH yet; closed because other connections are waiting"
    ]
