"""The service of one client's session: a removal goes over the connection on which the client's clock was read.

A client reads the repository's clock (GETTIMESTAMP), adds the time that it allows, and sends the result with
REMOVE-BEFORE. If the service is a `Remote`, each request may use another connection of its pool. If the repository
behind it restarts in between, its clock begins at zero again, and the client's deadline may then be an hour away.
A client with a connection of its own notices: its connection is lost. A client of a proxy does not. So:

1. From GETTIMESTAMP on, all requests of the session use one connection (`Service.pinned`), until it is lost.
2. If it was lost, REMOVE-BEFORE fails until the client reads the clock again. Other requests use another connection.

**So no removal is later than the client allowed.** REMOVE-BEFORE is sent only over the connection that TIMESTAMP came
from. If the repository restarted after TIMESTAMP, this connection has ended, and the request does not arrive.

The connection is held until the client leaves, as a client without a proxy holds it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

import trio

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import Removal, Service

T = TypeVar("T")

UNPIN_TIMEOUT = 5.0
"""Seconds that giving a connection back may take."""


class SessionService:
    """What the session of one client uses instead of `service`. The session calls `aclose` at its end."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._pinned: Service | None = None
        self._stack = AsyncExitStack()
        self._clock_lost = False
        """Whether the client has read the clock over a connection that was lost since."""

    async def ask(self, request: Callable[[Service], Awaitable[T]]) -> T:
        """A request that may be sent twice: over the pinned connection, or over another one if that is lost."""
        if self._pinned is None:
            return await request(self.service)
        try:
            return await request(self._pinned)
        except ConnectionLost:
            await self._lose()
        return await request(self.service)

    async def timestamp(self) -> int:
        await self._unpin()
        pinned = await self._stack.enter_async_context(self.service.pinned())
        try:
            seconds = await pinned.timestamp()
        except BaseException:
            await self._unpin()
            raise
        self._clock_lost = False
        if pinned is not self.service:  # otherwise there is no connection: it is a store, or a cluster
            self._pinned = pinned
        return seconds

    async def remove(self, key: Key, before: int | None) -> Removal:
        if before is not None and self._clock_lost:
            raise RemoteError(
                "the connection to the repository was lost after its clock was read; nothing was removed, try again"
            )
        try:
            return await (self._pinned or self.service).remove(key, before=before)
        except ConnectionLost:
            await self._lose()
            raise

    async def replace(self, service: Service) -> None:
        """Use another service from now on."""
        await self._lose()
        self.service = service

    async def _lose(self) -> None:
        if self._pinned is not None:
            self._clock_lost = True
            await self._unpin()

    async def _unpin(self) -> None:
        self._pinned = None
        with trio.move_on_after(UNPIN_TIMEOUT, shield=True):
            await self._stack.aclose()

    async def aclose(self) -> None:
        """Give the connection back. The service stays open."""
        await self._unpin()
