"""A server: it replies to the requests of one peer with the results of a Service (protocol-spec sections 4 to 10).

``serve(peer, store)`` is a server, ``serve(peer, remote)`` a proxy, ``serve(peer, cluster)`` a gateway.

If a request fails (`RemoteError`) or a line is not allowed, the server replies ERROR and the conversation continues. An
error ends the connection only in these cases:

- The client sends ERROR, or a line that is not allowed, where that ends the conversation (protocol-spec section 3), or
  a line that is too long.
- The client disconnects in the middle of a request, which is noticed while the server works on it as well
  (`p2pannex.p2p.client_watch`). A removal is finished first.
- The content fails while the server sends it: the protocol allows no ERROR in the middle of a body.
- The client sends VERSION and a proxied repository cannot be reached (see `_Session.version`).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import trio

from p2pannex.access import Mode
from p2pannex.errors import (
    APPEND_ONLY_ERROR,
    LIMITED_ERROR,
    READ_ONLY_ERROR,
    AccessDenied,
    ConnectionLost,
    RemoteError,
    Unsupported,
)
from p2pannex.p2p import bodies
from p2pannex.p2p.client_watch import ClientWatch
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.ref_changes import RefChanges
from p2pannex.p2p.session_service import SessionService
from p2pannex.protocol import messages as m
from p2pannex.protocol.conversation import BETWEEN_REQUESTS, CLIENT, SERVER, TABLE, State
from p2pannex.protocol.errors import RemoteProtocolError
from p2pannex.restrictions import APPEND_ONLY, LIMITED, Restrictions
from p2pannex.service import AlreadyHave, NotLocked, NotStored, Service, Stored, TooManyLocks, Upload
from p2pannex.transports import pump

if TYPE_CHECKING:
    from p2pannex.p2p.shares import ClientShares, What

CLOSE_TIMEOUT = 60.0
"""Seconds that closing may take: of a connection, a lock, or a service that was made for one client."""


class ClientGaveUp(Exception):
    """The client sent ERROR. That ends its request and, in some states, the conversation."""


async def serve(
    peer: Peer,
    service: Service,
    *,
    mode: Mode = Mode.READ_WRITE,
    limited: bool = False,
    max_version: int = m.LATEST_VERSION,
    idle_timeout: float = math.inf,
    report: Callable[[str], object] | None = None,
    shares: ClientShares | None = None,
) -> None:
    """Serve an authenticated client until it disconnects, then close the peer.

    `mode` says what the client may change. If `limited`, it may neither fetch from nor push to the git repository. The
    table of `p2pannex.restrictions` says which requests are refused.

    `max_version` is the highest protocol version to speak. `idle_timeout`, in seconds, is how long the client may be
    silent between requests or while it holds a lock; within a request the peer's own timeout applies, which is
    unlimited by default. ConnectionLost if the client disconnects in the middle of a request.

    `report` is called with the reason of each request that fails or is refused, before the client gets the reply. It is
    not called for requests that the service does not support at all, because some clients send these to find that out.

    `shares` limits the locks and uploads of this client, together with others; None if there is no limit.
    """
    failure: Exception | None = None
    restrictions = Restrictions(mode.value, LIMITED if limited else "")
    session = _Session(peer, service, restrictions, max_version, idle_timeout, report, shares)
    try:
        async with trio.open_nursery() as nursery:
            watch = ClientWatch(peer, nursery.cancel_scope)
            nursery.start_soon(watch.run)
            try:
                await session.run(watch)
            except Exception as error:
                failure = error  # raised outside of the nursery, which would wrap it in an exception group
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if watch.client_left:
            raise ConnectionLost("the client disconnected in the middle of a request")
    finally:
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            await session.changes.aclose()
            await session.clocked.aclose()
            if session.service is not service:
                await session.service.aclose()
            await peer.aclose()


class _Session:
    """One client's conversation. `HANDLERS` lists which method handles which request."""

    def __init__(
        self,
        peer: Peer,
        service: Service,
        restrictions: Restrictions,
        max_version: int,
        idle_timeout: float,
        report: Callable[[str], object] | None,
        shares: ClientShares | None,
    ) -> None:
        self.peer = peer
        self.clocked = SessionService(service)
        self.given = service
        """The caller's service, which the caller closes. Services that `bypassing` returned are closed here."""
        self.restrictions = restrictions
        self.max_version = max_version
        self.idle_timeout = idle_timeout
        self.report: Callable[[str], object] = report or (lambda reason: None)
        self.changes = RefChanges(peer)
        self.shares = shares

    def share(self, what: What) -> AbstractContextManager[None]:
        """A context manager in which the client has taken one of `what` (`ClientShares.take`)."""
        return nullcontext() if self.shares is None else self.shares.take(what)

    @property
    def service(self) -> Service:
        return self.clocked.service

    @property
    def plus(self) -> bool:
        """Whether replies may name other repositories (the ...-PLUS messages)."""
        return self.peer.conversation.version >= 2

    async def run(self, watch: ClientWatch) -> None:
        peer = self.peer
        if SERVER in TABLE[peer.conversation.state]:
            peer.queue(m.AuthSuccess(self.service.uuid))
        while not peer.poisoned:
            try:
                request = await peer.receive(self.idle_timeout)
                if request is None:
                    return
                if self.restrictions:
                    self.check(request)
                if type(request) not in UNWATCHED:
                    watch.begin()
                await HANDLERS[type(request)](self, request)
            except ClientGaveUp:
                pass
            except RemoteProtocolError as error:
                if error.reply is not None:
                    await peer.send(m.Error(error.reply))
                if error.fatal:
                    raise ConnectionLost(str(error)) from error
            except (RemoteError, ConnectionLost) as error:
                if isinstance(error, ConnectionLost) and peer.poisoned:
                    raise  # the client's connection is lost, not a connection of the service
                await self.failed(error)
            finally:
                watch.end()
            if CLIENT not in TABLE[peer.conversation.state]:
                return

    async def failed(self, error: RemoteError | ConnectionLost) -> None:
        """Reply ERROR to the request that failed, if the client waits for a reply."""
        if not isinstance(error, Unsupported):
            self.report(str(error))
        conversation = self.peer.conversation
        if m.Error in conversation.allowed(SERVER):
            await self.peer.send(m.Error(str(error)))
        elif conversation.state not in {*BETWEEN_REQUESTS, State.ENDED}:
            # In the middle of our body the protocol allows no message: all that is left is to close the connection.
            self.peer.poisoned = True
            raise ConnectionLost(f"failed in the middle of a reply: {error}") from error
        # Otherwise the reply was sent already, or the request has none: the client does not wait for an ERROR.

    async def next_message(self, timeout: float | None = None) -> m.Message:
        """The client's next message within a request."""
        message = await self.peer.receive(timeout)
        if message is None:
            self.peer.poisoned = True
            raise ConnectionLost("the client disconnected in the middle of a request")
        if isinstance(message, m.Error):
            raise ClientGaveUp(message.message)
        return message

    def check(self, request: m.Message) -> None:
        """AccessDenied if a restriction refuses the request."""
        action = request.verb.decode()
        if isinstance(request, m.Connect):
            action = f"{action} {request.service}"
        if restriction := self.restrictions.refusing(action):
            if restriction == LIMITED:
                raise AccessDenied(LIMITED_ERROR)
            removal = restriction == APPEND_ONLY and not isinstance(request, m.Connect)
            raise AccessDenied(APPEND_ONLY_ERROR if removal else READ_ONLY_ERROR)

    # Requests -------------------------------------------------------------------------------------------------

    async def error(self, request: m.Error) -> None:
        raise ClientGaveUp(request.message)

    async def version(self, request: m.Version) -> None:
        # If the service is a proxied repository, the client may use no higher version than that repository speaks.
        try:
            known = await self.service.version()
        except (RemoteError, ConnectionLost) as error:
            # After ERROR the client would use version 0, without deadlines and without VALID, for as long as the
            # connection exists. So the connection ends instead.
            self.peer.poisoned = True
            raise ConnectionLost(str(error)) from error
        self.peer.queue(m.Version(min(request.version, self.max_version, known)))

    async def bypass(self, request: m.Bypass) -> None:
        before = self.service
        await self.clocked.replace(before.bypassing(frozenset(request.uuids)))
        if before is not self.given and before is not self.service:
            await before.aclose()

    async def check_present(self, request: m.CheckPresent) -> None:
        present = await self.clocked.ask(lambda service: service.check_present(request.key))
        self.peer.queue(m.Success() if present else m.Failure())

    async def lock_content(self, request: m.LockContent) -> None:
        with self.share("locks"):
            await self.locked(request)

    async def locked(self, request: m.LockContent) -> None:
        # After SUCCESS the client may delete its only other copy, so the lock must not end early:
        # 1. The service has the retention record on disk before lock() returns.
        # 2. Only release() below ends the lock early, and only the client's UNLOCKCONTENT leads there.
        # 3. In all other cases (an error, a disconnect, cancellation) the lock is left to expire.
        try:
            lock = await self.clocked.ask(lambda service: service.lock(request.key))
        except NotLocked as error:
            if isinstance(error, TooManyLocks):
                self.report(str(error))
            self.peer.queue(m.Failure())
            return
        released = False
        try:
            await self.peer.send(m.Success())
            if isinstance(await self.next_message(self.idle_timeout), m.UnlockContent):
                await lock.release()
                released = True
        finally:
            if not released and self.shares is not None:
                self.shares.lose_lock()
            with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await lock.aclose()

    async def remove(self, request: m.Remove | m.RemoveBefore) -> None:
        before = request.timestamp if isinstance(request, m.RemoveBefore) else None
        removal = await self.clocked.remove(request.key, before)
        if removal.reason:
            self.report(removal.reason)
        self.outcome(removal.ok, removal.uuids)

    async def get_timestamp(self, request: m.GetTimestamp) -> None:
        self.peer.queue(m.Timestamp(await self.clocked.timestamp()))

    async def get(self, request: m.Get) -> None:
        peer = self.peer
        async with await self.clocked.ask(
            lambda service: service.get(request.key, offset=request.offset, file=request.file)
        ) as download:
            peer.queue(m.Data(download.length))
            await bodies.send(download, peer)
            valid = await download.valid()
            if peer.conversation.version >= 1:
                peer.queue(m.Valid() if valid else m.Invalid())
            await download.finish(isinstance(await self.next_message(), m.Success | m.SuccessPlus))

    async def put(self, request: m.Put) -> None:
        with self.share("uploads"):
            await self.upload(request)

    async def upload(self, request: m.Put) -> None:
        peer = self.peer
        upload = await self.clocked.ask(lambda service: service.put(request.key, request.file))
        if isinstance(upload, AlreadyHave):
            uuids = tuple(sorted(upload.uuids))
            peer.queue(m.AlreadyHavePlusReply(uuids) if uuids and self.plus else m.AlreadyHaveReply())
            return
        async with upload:
            peer.queue(m.PutFrom(upload.offset))
            announced = await self.next_message()
            if isinstance(announced, m.DataPresent):
                outcome = await upload.data_present()
            else:
                assert isinstance(announced, m.Data)
                outcome = await self.receive_body(upload, announced.length)
            if isinstance(outcome, NotStored) and outcome.reason:
                self.report(outcome.reason)
            self.outcome(isinstance(outcome, Stored), outcome.uuids)

    async def receive_body(self, upload: Upload, length: int) -> Stored | NotStored:
        """Receive a body. The client cannot be stopped in the middle: if the upload fails, the rest is discarded."""
        peer = self.peer
        failure: RemoteError | ConnectionLost | None = None
        try:
            await upload.begin(length)
            await bodies.receive(length, peer, upload)
        except (RemoteError, ConnectionLost) as error:
            if isinstance(error, ConnectionLost) and peer.poisoned:
                raise
            failure = error
            await pump.move(peer.conversation.incoming, peer.read_body, _discard, stalls=True)
        valid = peer.conversation.version < 1 or isinstance(await self.next_message(), m.Valid)
        if failure is not None:
            raise failure
        return await upload.finish(valid)

    def outcome(self, ok: bool, uuids: frozenset[str]) -> None:
        names = tuple(sorted(uuids))
        if names and self.plus:
            self.peer.queue(m.SuccessPlus(names) if ok else m.FailurePlus(names))
        else:
            self.peer.queue(m.Success() if ok else m.Failure())

    async def notify_change(self, request: m.NotifyChange) -> None:
        self.peer.queue(m.Changed(await self.changes.wait(self.service)))

    async def connect(self, request: m.Connect) -> None:
        from p2pannex.p2p.tunnel import TunnelStream

        async with TunnelStream(self.peer) as stream:
            code = await self.service.connect(request.service, stream)
        await self.peer.send(m.ConnectDone(code))


async def _discard(view: memoryview) -> None:
    await trio.lowlevel.checkpoint()


HANDLERS: dict[type[m.Message], Callable[[_Session, Any], Awaitable[None]]] = {
    m.Bypass: _Session.bypass,
    m.CheckPresent: _Session.check_present,
    m.Connect: _Session.connect,
    m.Error: _Session.error,
    m.Get: _Session.get,
    m.GetTimestamp: _Session.get_timestamp,
    m.LockContent: _Session.lock_content,
    m.NotifyChange: _Session.notify_change,
    m.Put: _Session.put,
    m.Remove: _Session.remove,
    m.RemoveBefore: _Session.remove,
    m.Version: _Session.version,
}
"""The method that handles each request. A test compares it with the IDLE state of the table."""

UNWATCHED = frozenset({m.Connect, m.NotifyChange, m.Remove, m.RemoveBefore})
"""Requests that are not given up as soon as the client has left. CONNECT and NOTIFYCHANGE read from the client, and see
its end themselves. A removal is finished, so that it is logged as well."""
