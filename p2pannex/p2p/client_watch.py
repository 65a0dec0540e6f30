"""Notices that a client has left while the server works on its request.

A request may take any time: content is hashed, fetched from a cloud, or waits for a slot. Where it is the client's turn
to send, the end of its connection ends the wait. Where it is the server's turn, nothing is read, so nothing would
notice it, and the server would work on for a client that is gone; a body that is not read any more would even be waited
for without end, since a client may be busy for any time (see `PEER_TIMEOUT`).

So a task looks once a second, while a request is worked on, whether the client has closed its connection. It costs a
request that takes less than that nothing but the assignment of an attribute.

A client on pipes that has closed the one it sends on still gets its replies (``printf ... | p2pannex-shell``). On a
socket this counts as having left, except during a body: a client that still takes its bytes is served to the end, and
given up if it takes nothing for BODY_LOOKS looks in a row.
"""

from __future__ import annotations

import trio

from p2pannex.p2p.peer import Peer

INTERVAL = 1.0
"""Seconds between two looks."""

BODY_LOOKS = 60
"""Looks in a row at which the client takes nothing of a body, after which it is given up."""


class ClientWatch:
    """Cancels `scope` when the client has left while a request is worked on. `run` must run in a task of its own."""

    def __init__(self, peer: Peer, scope: trio.CancelScope) -> None:
        self._peer = peer
        self._scope = scope
        self._requests = 0
        self._working = False
        self._idle = trio.lowlevel.ParkingLot()
        self.client_left = False
        """Whether the scope was cancelled because the client has left."""

    def begin(self) -> None:
        """The server begins to work on a request."""
        self._requests += 1
        self._working = True
        if self._idle:
            self._idle.unpark_all()

    def end(self) -> None:
        """The server waits for the client's next request, or must not be stopped."""
        self._working = False

    async def run(self) -> None:
        """Look until cancelled."""
        seen, looks = self._progress(), 0
        while True:
            if not self._working:
                await self._idle.park()
            await trio.sleep(INTERVAL)
            looks += 1
            if (now := self._progress()) != seen or not self._working:
                seen, looks = now, 0
            if looks >= (BODY_LOOKS if self._peer.conversation.outgoing else 1) and self._peer.has_left():
                self.client_left = True
                self._scope.cancel()
                return

    def _progress(self) -> tuple[int, int, int]:
        conversation = self._peer.conversation
        return self._requests, conversation.incoming, conversation.outgoing


__all__ = ["INTERVAL", "ClientWatch"]
