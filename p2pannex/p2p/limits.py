"""The limits of a server on sockets: on all of its connections together, and on those of one token or one address.

A `Share` is what one token, or one address, may have at a time. So one client cannot take all connections of a server.
"""

from __future__ import annotations

import math

from attrs import frozen

from p2pannex.p2p.authenticate import DEADLINE, DELAY

CONNECTIONS = 1000
"""How many connections a server has at a time, unless its owner wants another number."""

UNAUTHENTICATED = 100
"""How many connections without a valid token are open at a time."""

DESCRIPTORS_EACH = 8
"""File descriptors that one connection may need: its socket, files of the store, connections to nodes."""

DESCRIPTORS_RESERVED = 32
"""File descriptors that are not counted for connections: the program's own, listeners, git."""

SMALL_SHARE = 25
"""The share of a token in a server with few connections, if that is at most half of them: git-annex with ``-J10``, on
two machines, needs no more."""

LOST_LOCKS = 500
"""Locks of lost connections that every share allows. Those of one client must not be a large part of the store's."""


@frozen
class Share:
    """What one token, or one address, may have at a time."""

    connections: int
    locks: int
    """How many of its connections may hold a lock (LOCKCONTENT)."""
    uploads: int
    """How many of its connections may upload (PUT)."""
    lost_locks: int = LOST_LOCKS
    """How many of its locks may stay, each for ten minutes, because their connections were lost. With so many, it gets
    no further lock."""

    @classmethod
    def of(cls, connections: int) -> Share:
        """A share of so many connections. Half of them may hold a lock, and half of them may upload."""
        half = max(1, connections // 2)
        return cls(connections, half, half, max(half, LOST_LOCKS))


PER_TOKEN = Share.of(CONNECTIONS // 4)
PER_ADDRESS = Share.of(CONNECTIONS // 2)


@frozen
class Limits:
    """Limits of a server's connections. Times are in seconds."""

    connections: int = CONNECTIONS
    """How many connections are served at a time. Further ones wait, most of them in the system's queue."""
    per_token: Share = PER_TOKEN
    """What clients with the same token may have. A connection, lock or upload above that gets ERROR."""
    per_address: Share = PER_ADDRESS
    """What clients with the same address may have, whichever tokens they send.
    `p2pannex.transports.listeners.Client` says what counts as one address."""
    unauthenticated: int = UNAUTHENTICATED
    """How many other connections, which have not authenticated yet, are open at a time."""
    unauthenticated_per_address: int = UNAUTHENTICATED // 4
    """How many of them may have the same address. A further one replaces the oldest of them at once."""
    unauthenticated_grace: float = 2.0
    """How long a connection without AUTH is kept although others wait for its place, if no address has more of them
    than the others."""
    authentication: float = DEADLINE
    """How long a client may take to send AUTH."""
    delay: float = DELAY
    """How long the server waits before it replies to a wrong token."""
    idle: float = 3600.0
    """How long a client may be silent between two requests, or while it holds a lock."""
    timeout: float = math.inf
    """How long the server waits for the next bytes within a request. A client may be busy for any time there: hashing
    what it got, for example. So a limit cuts off clients that are at work."""
    recheck: float = 60.0
    """The interval at which the server checks whether the tokens of open connections are still valid."""
    grace: float = 30.0
    """How long running requests may take to finish when the server stops."""

    @classmethod
    def for_connections(cls, connections: int, per_token: int | None = None, per_address: int | None = None) -> Limits:
        """The limits of a server with so many connections. `per_token` and `per_address`, in connections, are a quarter
        and half of them, unless they are given; a token of a server with few connections gets up to half."""
        if per_token is None:
            per_token = max(1, connections // 4, min(SMALL_SHARE, connections // 2))
        if per_address is None:
            per_address = max(per_token, connections // 2)
        unauthenticated = _unauthenticated(connections)
        return cls(
            connections=connections,
            per_token=Share.of(per_token),
            per_address=Share.of(per_address),
            unauthenticated=unauthenticated,
            unauthenticated_per_address=max(2, unauthenticated // 4),
        )


def _unauthenticated(connections: int) -> int:
    return max(4, min(UNAUTHENTICATED, connections))


def descriptors_for(connections: int) -> int:
    """How many file descriptors a server with so many connections may need."""
    return DESCRIPTORS_RESERVED + _unauthenticated(connections) + DESCRIPTORS_EACH * connections


def connections_for(descriptors: int) -> int:
    """How many connections a server with so many file descriptors can have; at least one."""
    left = descriptors - DESCRIPTORS_RESERVED
    most = max(1, left // DESCRIPTORS_EACH)
    return next(count for count in range(most, 0, -1) if count == 1 or descriptors_for(count) <= descriptors)


__all__ = ["Limits", "Share", "connections_for", "descriptors_for"]
