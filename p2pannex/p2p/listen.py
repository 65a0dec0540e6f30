"""Serving sockets: accept connections, authenticate clients, and serve each client (protocol-spec section 13).

There are two limits: one on connections that are served, and one on connections that have not sent a valid token yet
(`p2pannex.p2p.unauthenticated`). Of both, one address may have only a part; so may one token of those that are served
(`p2pannex.p2p.shares`). `p2pannex.p2p.limits` has the numbers.

An error of one connection is logged in one line and ends only that connection. Why a request failed or was refused is
logged as well: once for each reason, however many requests fail for it (`p2pannex.p2p.failure_log`). Tokens are never
logged.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Protocol

import trio
from attrs import define, field

from p2pannex.access import Grant, Mode
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.p2p.authenticate import NotAuthenticated, authenticate
from p2pannex.p2p.failure_log import FailureLog
from p2pannex.p2p.limits import Limits, Share
from p2pannex.p2p.pool import close
from p2pannex.p2p.server import serve
from p2pannex.p2p.shares import ClientShares, Holder, Shares, ShareTaken
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.p2p.unauthenticated import ServerConnection, Unauthenticated
from p2pannex.protocol import messages as m
from p2pannex.protocol.conversation import Side, State
from p2pannex.service import Service
from p2pannex.terminal import safe_line
from p2pannex.transports.listeners import Client, SocketListener

log = logging.getLogger(__name__)

OUT_OF_RESOURCES = 0.25
"""Seconds to wait before the next attempt if the system has no descriptor or memory for another connection."""

STRICTNESS = (Mode.READ_WRITE, Mode.APPEND_ONLY, Mode.READ_ONLY)


class Tokens(Protocol):
    """Decides which tokens are valid. `p2pannex.access.TokenFile` implements it."""

    def verify(self, token: str) -> Grant | None:
        """What `token` grants, or None if it is not valid. RemoteError if that cannot be determined."""
        ...

    def refusal(self, token: str) -> str:
        """Why `verify` returned None for `token`: a line for logs, without the token. RemoteError as for `verify`."""
        ...

    def surviving(self, grants: Collection[Grant]) -> Collection[Grant]:
        """The `grants`, returned earlier, that are still valid. RemoteError if that cannot be determined."""
        ...


@define(eq=False)
class _Connection(ServerConnection):
    mode: Mode = Mode.READ_WRITE
    grant: Grant | None = None
    shares: ClientShares | None = None
    """What its client may have. Set once the client is accepted."""
    taken: ExitStack = field(factory=ExitStack)
    """Gives back its place in `shares`."""

    @property
    def client(self) -> str:
        """What it has in common with other connections of its client."""
        return f"token {self.grant.id}" if self.grant is not None else f"address {self.address}"


async def serve_listeners(
    listeners: Sequence[SocketListener],
    service: Service,
    *,
    tokens: Tokens | None = None,
    mode: Mode = Mode.READ_WRITE,
    limited: bool = False,
    limits: Limits | None = None,
    stopping: trio.Event | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `service` to all clients that connect, until cancelled or until `stopping` is set. Closes the listeners.

    A client may do what both its token and `mode` allow. `limited` is that of `serve`. Without `tokens`, every listener
    must be `authenticated`.

    When `stopping` is set, the server accepts no more connections and closes those that are between requests. Other
    connections are closed when their request ends, or after `limits.grace`. Cancelling closes all of them immediately.
    """
    try:
        if tokens is None and not all(listener.authenticated for listener in listeners):
            raise ValueError("without tokens, no client could be accepted")
        server = _Server(service, tokens, mode, limits or Limits(), limited=limited)
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
    def __init__(self, service: Service, tokens: Tokens | None, mode: Mode, limits: Limits, *, limited: bool) -> None:
        self._service = service
        self._tokens = tokens
        self._mode = mode
        self._limited = limited
        self._limits = limits
        self._shares = Shares()
        self._unauthenticated = Unauthenticated(limits)
        # Of these, the ones with a valid token that wait until they can be served, in the order of their arrival.
        self._waiting: list[_Connection] = []
        self._served: set[_Connection] = set()
        self._failures = FailureLog()
        self._changed = trio.lowlevel.ParkingLot()

    async def accept(self, listener: SocketListener, nursery: trio.Nursery) -> None:
        """Accept connections, within the limits, until cancelled."""
        complained = False
        while True:
            try:
                stream, client = await listener.accept()
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
                await self._below_limits(None if trusted else client)
            except BaseException:
                await close(peer)
                raise
            connection = _Connection(client.name, client.address, peer, mode=self._mode)
            (self._served if trusted else self._unauthenticated).add(connection)
            nursery.start_soon(self._handle, connection)

    async def _below_limits(self, stranger: Client | None) -> None:
        """Wait until another connection may be served, or authenticated first if it is that of a `stranger`."""
        while True:
            wait = float("inf")
            if len(self._served) < self._limits.connections:
                wait = 0.0 if stranger is None else self._unauthenticated.make_room(stranger.address)
                if not wait:
                    return
            with trio.move_on_after(wait):
                await self._changed.park()

    async def _handle(self, connection: _Connection) -> None:
        try:
            with connection.scope:
                if connection in self._unauthenticated:
                    await self._authenticate(connection)
                else:
                    await self._admit_trusted(connection)
                await serve(
                    connection.peer,
                    self._service,
                    mode=connection.mode,
                    limited=self._limited,
                    idle_timeout=self._limits.idle,
                    report=partial(self._failures.report, connection.client, connection.name),
                    shares=connection.shares,
                )
        except NotAuthenticated as error:
            log.warning("%s: not accepted: %s", connection.name, safe_line(str(error)))
        except ConnectionLost as error:
            log.info("%s: %s", connection.name, safe_line(str(error)))
        except Exception as error:
            log.error("%s: %s: %s", connection.name, type(error).__name__, safe_line(str(error)))
            log.debug("%s: traceback", connection.name, exc_info=True)
        finally:
            await close(connection.peer)
            connection.taken.close()
            self._unauthenticated.discard(connection)
            self._served.discard(connection)
            self._changed.unpark_all()

    def _take_place(self, connection: _Connection, grant: Grant | None) -> None:
        """Take a place of the connection's token, and of its address. ShareTaken if one of them has no more."""
        holders = []
        if grant is not None:
            holders.append(Holder("token", grant.id, self._limits.per_token))
        if connection.address is not None:
            holders.append(Holder("address", connection.address, self._limits.per_address))
        connection.shares = ClientShares(self._shares, *holders)
        connection.taken.enter_context(connection.shares.take("connections"))
        connection.grant = grant
        connection.token_valid = True

    async def _admit_trusted(self, connection: _Connection) -> None:
        try:
            self._take_place(connection, None)
        except ShareTaken as error:
            await connection.peer.send(m.Error(str(error)))
            raise NotAuthenticated(str(error)) from error

    async def _authenticate(self, connection: _Connection) -> None:
        assert self._tokens is not None, "a listener that is not authenticated needs tokens"
        limits = self._limits
        grant = await authenticate(
            connection.peer,
            self._service.uuid,
            self._tokens.verify,
            deadline=limits.authentication,
            delay=limits.delay,
            refusal=self._tokens.refusal,
            admit=partial(self._take_place, connection),
        )
        connection.mode = max(self._mode, grant.mode, key=STRICTNESS.index)
        self._waiting.append(connection)
        try:
            while len(self._served) >= limits.connections or self._waiting[0] is not connection:
                await self._changed.park()
        finally:
            self._waiting.remove(connection)
        self._unauthenticated.discard(connection)
        self._served.add(connection)
        self._changed.unpark_all()
        log.info("%s: accepted with token %s", connection.name, " ".join(filter(None, (grant.id, grant.name))))

    async def recheck(self) -> None:
        """Close connections whose token was revoked or has expired since they were accepted."""
        while True:
            await trio.sleep(self._limits.recheck)
            grants = {connection.grant for connection in self._served if connection.grant is not None}
            if not grants or self._tokens is None:
                continue
            try:
                valid = self._tokens.surviving(grants)
            except RemoteError as error:
                log.error("cannot check which tokens are still valid: %s", error)
                continue
            for connection in list(self._served):
                if connection.grant is not None and connection.grant not in valid:
                    log.info("%s: its token was revoked or has expired", connection.name)
                    connection.scope.cancel()

    async def wind_down(self) -> None:
        """Close connections as their requests end, for at most `Limits.grace`."""
        self._unauthenticated.close_all()
        with trio.move_on_after(self._limits.grace):
            while self._served:
                for connection in self._served:
                    if connection.peer.conversation.state is State.IDLE:
                        connection.scope.cancel()
                with trio.move_on_after(0.05):
                    await self._changed.park()


__all__ = ["Limits", "Share", "Tokens", "serve_listeners"]
