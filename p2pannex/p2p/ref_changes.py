"""NOTIFYCHANGE: a server waits for changes of git refs, as long as its client is there (protocol-spec section 10)."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import trio

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.p2p.peer import Peer
from p2pannex.service import Service


class RefChanges:
    """The changes for all NOTIFYCHANGE requests of one connection. The session calls `aclose` at its end.

    All these requests use one generator of the service, so changes between two requests are not lost.
    """

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._changes: AsyncGenerator[tuple[str, ...], None] | None = None

    async def wait(self, service: Service) -> tuple[str, ...]:
        """Wait for the next change. ConnectionLost if the client disconnects meanwhile. RemoteError or ConnectionLost
        if the service cannot follow changes any longer; the next request starts anew."""
        if self._changes is None:
            self._changes = service.changes()
        changes = self._changes
        refs: tuple[str, ...] | None = None
        failure: RemoteError | ConnectionLost | None = None
        disconnected = False

        async def watch_client() -> None:
            nonlocal disconnected
            await self._peer.wait_left()
            disconnected = True
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_client)
            try:
                refs = await anext(changes)
            except StopAsyncIteration:
                failure = RemoteError("changes cannot be followed any longer")
            except (RemoteError, ConnectionLost) as error:
                failure = error
            nursery.cancel_scope.cancel()
        if disconnected:
            self._peer.poisoned = True
            raise ConnectionLost("the client disconnected while it waited for changes")
        if refs is None:
            await self.aclose()
            assert failure is not None
            raise failure
        return refs

    async def aclose(self) -> None:
        changes, self._changes = self._changes, None
        if changes is not None:
            await changes.aclose()
