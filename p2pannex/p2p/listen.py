"""Serving sockets: accept connections, let clients in, serve each its own conversation (protocol-spec section 13).

Two limits keep strangers from using up what clients need: one on connections being served, another on connections that
have not shown a token yet. When the second is reached, a newcomer takes the place of whoever has been silent longest,
once that one has had a fair time; a client needs a moment for its AUTH, one that never sends it holds nobody up.

Whatever goes wrong with a connection is one line in the log, and ends that connection only. Tokens are never logged.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Protocol

import trio
from attrs import define, field, frozen

from p2pannex.access import Grant, Mode
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.p2p.authenticate import DEADLINE, DELAY, NotAuthenticated, authenticate
from p2pannex.p2p.peer import PEER_TIMEOUT, Peer, StreamPeer
from p2pannex.p2p.pool import close
from p2pannex.p2p.server import serve
from p2pannex.protocol.conversation import Side, State
from p2pannex.service import Service
from p2pannex.transports.listeners import SocketListener

log = logging.getLogger(__name__)

OUT_OF_RESOURCES = 0.25
"""Seconds to wait where the system has no descriptor or no memory for another connection."""

STRICTNESS = (Mode.READ_WRITE, Mode.APPEND_ONLY, Mode.READ_ONLY)


class Tokens(Protocol):
    """Who is let in. A `p2pannex.access.TokenFile` is one."""

    def verify(self, token: str) -> Grant | None:
        """What `token` grants. RemoteError where that cannot be found out."""
        ...

    def surviving(self, grants: Collection[Grant]) -> Collection[Grant]:
        """Those of `grants`, given earlier, that are still good. RemoteError where that cannot be found out."""
        ...


@frozen
class Limits:
    """What connections may take. Times are in seconds."""

    connections: int = 1000
    """Connections served at a time. Where there are more, the next ones wait, first in the system's queue."""
    unauthenticated: int = 100
    """Connections that have not shown a token yet, besides."""
    unauthenticated_grace: float = 2.0
    """For so long a stranger keeps its place when others wait for it."""
    authentication: float = DEADLINE
    """Until AUTH has come."""
    delay: float = DELAY
    """Until a wrong token is answered."""
    idle: float = 3600.0
    """Between two requests, and while content is locked."""
    timeout: float = PEER_TIMEOUT
    """For the next bytes within a request."""
    recheck: float = 60.0
    """Between two looks whether the tokens that connections came with are still good."""
    grace: float = 30.0
    """For requests under way to end, when the server is stopping."""


@define(eq=False)
class _Connection:
    name: str
    peer: Peer
    mode: Mode
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    grant: Grant | None = None
    since: float = field(factory=trio.current_time)


async def serve_listeners(
    listeners: Sequence[SocketListener],
    service: Service,
    *,
    tokens: Tokens | None = None,
    mode: Mode = Mode.READ_WRITE,
    limits: Limits | None = None,
    stopping: trio.Event | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `service` to all who connect, until cancelled, or until `stopping` is set. Closes the listeners.

    A client may do what its token and `mode` both allow. Without `tokens` only authenticated listeners can be served.
    When `stopping` is set, no more connections are taken, those between requests end at once, the others when their
    request does or `limits.grace` has passed. Cancelling ends all at once.
    """
    try:
        if tokens is None and not all(listener.authenticated for listener in listeners):
            raise ValueError("without tokens, nobody could be let in")
        server = _Server(service, tokens, mode, limits or Limits())
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(server.accept, listener, connections)
                accepting.start_soon(server.recheck)
                task_status.started()
                if stopping is not None:
                    await stopping.wait()
                    accepting.cancel_scope.cancel()
            for listener in listeners:
                listener.close()
            await server.wind_down()
            connections.cancel_scope.cancel()
    finally:
        for listener in listeners:
            listener.close()


class _Server:
    def __init__(self, service: Service, tokens: Tokens | None, mode: Mode, limits: Limits) -> None:
        self._service = service
        self._tokens = tokens
        self._mode = mode
        self._limits = limits
        self._strangers: set[_Connection] = set()
        self._waiting: list[
            _Connection
        ] = []  # those of the strangers that have shown a token: first come, first served
        self._served: set[_Connection] = set()
        self._departures = trio.lowlevel.ParkingLot()

    async def accept(self, listener: SocketListener, nursery: trio.Nursery) -> None:
        """Take connections for as long as there is room."""
        complained = False
        while True:
            try:
                stream, name = await listener.accept()
            except OSError as error:
                if not complained:
                    log.error("%s: cannot accept connections, trying again: %s", listener.name, error.strerror)
                complained = True
                await trio.sleep(OUT_OF_RESOURCES)
                continue
            complained = False
            trusted = listener.authenticated
            peer = StreamPeer(stream, Side.SERVER, authenticated=trusted, timeout=self._limits.timeout)
            try:
                await self._room(trusted)
            except BaseException:
                await close(peer)
                raise
            connection = _Connection(name, peer, self._mode)
            (self._served if trusted else self._strangers).add(connection)
            nursery.start_soon(self._handle, connection)

    async def _room(self, trusted: bool) -> None:
        """Wait until another connection may be served, or at least looked at."""
        limits = self._limits
        while True:
            wait = float("inf")
            if len(self._served) < limits.connections:
                if trusted or len(self._strangers) < limits.unauthenticated:
                    return
                silent = [connection for connection in self._strangers if connection not in self._waiting]
                if silent:
                    oldest = min(silent, key=lambda connection: connection.since)
                    wait = oldest.since + limits.unauthenticated_grace - trio.current_time()
                    if wait <= 0:
                        log.warning("%s: it had its time, others are waiting", oldest.name)
                        oldest.scope.cancel()
                        self._strangers.discard(oldest)
                        return
            with trio.move_on_after(wait):
                await self._departures.park()

    async def _handle(self, connection: _Connection) -> None:
        try:
            with connection.scope:
                if connection in self._strangers:
                    await self._admit(connection)
                await serve(connection.peer, self._service, mode=connection.mode, idle_timeout=self._limits.idle)
        except NotAuthenticated as error:
            log.warning("%s: not let in: %s", connection.name, _line(error))
        except ConnectionLost as error:
            log.info("%s: %s", connection.name, _line(error))
        except Exception as error:
            log.error("%s: %s: %s", connection.name, type(error).__name__, _line(error))
            log.debug("%s: where that happened", connection.name, exc_info=True)
        finally:
            await close(connection.peer)
            self._strangers.discard(connection)
            self._served.discard(connection)
            self._departures.unpark_all()

    async def _admit(self, connection: _Connection) -> None:
        assert self._tokens is not None, "a listener that is not authenticated needs tokens"
        limits = self._limits
        grant = await authenticate(
            connection.peer,
            self._service.uuid,
            self._tokens.verify,
            deadline=limits.authentication,
            delay=limits.delay,
        )
        connection.grant = grant
        connection.mode = max(self._mode, grant.mode, key=STRICTNESS.index)
        self._waiting.append(connection)
        try:
            while len(self._served) >= limits.connections or self._waiting[0] is not connection:
                await self._departures.park()
        finally:
            self._waiting.remove(connection)
        self._strangers.discard(connection)
        self._served.add(connection)
        self._departures.unpark_all()
        log.info("%s: let in with token %s", connection.name, " ".join(filter(None, (grant.id, grant.name))))

    async def recheck(self) -> None:
        """End connections whose token was revoked or has expired since they were let in."""
        while True:
            await trio.sleep(self._limits.recheck)
            grants = {connection.grant for connection in self._served if connection.grant is not None}
            if not grants or self._tokens is None:
                continue
            try:
                good = self._tokens.surviving(grants)
            except RemoteError as error:
                log.error("cannot see which tokens are still good: %s", error)
                continue
            for connection in list(self._served):
                if connection.grant is not None and connection.grant not in good:
                    log.info("%s: its token was revoked or has expired", connection.name)
                    connection.scope.cancel()

    async def wind_down(self) -> None:
        """Let requests end, within the time of grace."""
        for stranger in self._strangers:
            stranger.scope.cancel()
        with trio.move_on_after(self._limits.grace):
            while self._served:
                for connection in self._served:
                    if connection.peer.conversation.state is State.IDLE:
                        connection.scope.cancel()
                with trio.move_on_after(0.05):
                    await self._departures.park()


def _line(error: Exception) -> str:
    """What an error says, on one line, whoever chose its words."""
    return "".join(character if character.isprintable() else " " for character in str(error))
