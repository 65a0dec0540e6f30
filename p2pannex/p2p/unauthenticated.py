"""The connections of a server that have no valid token yet: how many there may be, and which one is closed for another.

A client needs only a moment to send AUTH. Connections that never send it must neither keep clients out nor delay them,
so a new connection replaces an old one:

1. An address that has its share of these connections loses its oldest one, at once.
2. If all places are taken, an address that has more of them than the new connection's loses its oldest one, at once.
3. Otherwise the oldest connection is closed once it has had a grace period, and new connections wait for that.

So a flood from a few addresses is accepted and closed as fast as it arrives, and others are accepted in between.
"""

from __future__ import annotations

import logging
from collections import Counter

import trio
from attrs import define, field

from p2pannex.p2p.limits import Limits
from p2pannex.p2p.peer import Peer

log = logging.getLogger(__name__)

LOG_INTERVAL = 60.0
"""Seconds between two lines that say that connections without AUTH were closed for others."""


@define(eq=False)
class ServerConnection:
    """A connection of a server. Cancelling `scope` closes it."""

    name: str
    """Its name in logs."""
    address: str | None
    """What its client shares with other connections from the same place; None if that is not known."""
    peer: Peer
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    since: float = field(factory=trio.current_time)
    token_valid: bool = False
    """Whether it has sent a valid token, and waits until it can be served."""


class Unauthenticated:
    """The connections without a valid token, in the order of their arrival, and those that wait to be served."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._connections: dict[ServerConnection, None] = {}
        self._logged = float("-inf")

    def __contains__(self, connection: ServerConnection) -> bool:
        return connection in self._connections

    def add(self, connection: ServerConnection) -> None:
        self._connections[connection] = None

    def discard(self, connection: ServerConnection) -> None:
        self._connections.pop(connection, None)

    def close_all(self) -> None:
        for connection in self._connections:
            connection.scope.cancel()

    def make_room(self, address: str | None) -> float:
        """Make room for one connection from `address`. Returns 0.0 if there is room now, or else the seconds after
        which to call again, unless a connection ends earlier."""
        limits = self._limits
        silent = [connection for connection in self._connections if not connection.token_valid]
        count = Counter(connection.address for connection in silent)
        if address is not None and count[address] >= limits.unauthenticated_per_address:
            self._close(next(connection for connection in silent if connection.address == address))
            return 0.0
        if len(self._connections) < limits.unauthenticated:
            return 0.0
        if not silent:
            return float("inf")
        crowded, most = count.most_common(1)[0]
        if most > count[address] + 1:
            self._close(next(connection for connection in silent if connection.address == crowded))
            return 0.0
        wait = silent[0].since + limits.unauthenticated_grace - trio.current_time()
        if wait <= 0:
            self._close(silent[0])
            return 0.0
        return wait

    def _close(self, connection: ServerConnection) -> None:
        if trio.current_time() - self._logged >= LOG_INTERVAL:
            self._logged = trio.current_time()
            log.warning("%s: no AUTH yet; closed because other connections are waiting", connection.name)
        connection.scope.cancel()
        self.discard(connection)


__all__ = ["ServerConnection", "Unauthenticated"]
