"""A pool of connections to one remote repository. They are kept open for further requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from p2pannex.errors import ConnectionLost
from p2pannex.p2p.peer import Peer

PEER_CLOSE_TIMEOUT = 5.0
"""Seconds that a connection may take to close."""


class PeerPool:
    """Opens peers when they are needed, at most `limit` at a time, and keeps up to `keep` idle ones.

    The caller of `acquire` must give the peer back with `release`, in whatever state it is. A peer that cannot be used
    again is closed. `timeout`, in seconds, limits the wait for a free connection.
    """

    def __init__(self, dial: Callable[[], Awaitable[Peer]], *, limit: int, keep: int, timeout: float) -> None:
        self._dial = dial
        self._idle: list[Peer] = []
        self._keep = keep
        self._timeout = timeout
        self._slots = trio.Semaphore(limit)
        self._closed = False

    async def acquire(self, *, fresh: bool = False) -> tuple[Peer, bool]:
        """A peer between requests, and whether it was used before. With `fresh` it is a new connection."""
        with trio.move_on_after(self._timeout) as scope:
            await self._slots.acquire()
        if scope.cancelled_caught:
            raise ConnectionLost(f"all connections were busy for {self._timeout:g} s")
        try:
            if self._closed:
                raise ConnectionLost("this remote is closed")
            while self._idle:
                peer = self._idle.pop()
                if not fresh and peer.reusable:
                    return peer, True
                await close(peer)
            return await self._dial(), False
        except BaseException:
            self._slots.release()
            raise

    async def release(self, peer: Peer) -> None:
        """Give a peer back to the pool."""
        self._slots.release()
        if peer.reusable and len(self._idle) < self._keep and not self._closed:
            self._idle.append(peer)
        else:
            await close(peer)

    async def aclose(self) -> None:
        """Close the idle peers. Peers in use are closed when they are released."""
        self._closed = True
        while self._idle:
            await close(self._idle.pop())


class PinnedPool(PeerPool):
    """Keeps one peer of another pool from the first request on, so that no other caller gets it between two requests.

    Once a request was answered, all further ones use the same connection. If that is lost they raise ConnectionLost
    instead of using a new one: the server may have restarted, and what it answered before may not be true any more.
    `aclose` gives the peer back.
    """

    def __init__(self, pool: PeerPool) -> None:
        self._pool = pool
        self._pinned: Peer | None = None
        self._answered = False

    async def acquire(self, *, fresh: bool = False) -> tuple[Peer, bool]:
        peer, self._pinned = self._pinned, None
        if peer is not None:
            if peer.reusable and not fresh:
                return peer, True
            await self._pool.release(peer)
        if self._answered:
            raise ConnectionLost("the connection was lost between two requests")
        return await self._pool.acquire(fresh=fresh)

    async def release(self, peer: Peer) -> None:
        if self._pinned is None and peer.reusable:
            self._pinned = peer
            self._answered = True
        else:
            await self._pool.release(peer)

    async def aclose(self) -> None:
        peer, self._pinned = self._pinned, None
        if peer is not None:
            await self._pool.release(peer)


async def close(peer: Peer) -> None:
    """Close a peer within PEER_CLOSE_TIMEOUT, also during cancellation."""
    with trio.move_on_after(PEER_CLOSE_TIMEOUT, shield=True):
        await peer.aclose()
