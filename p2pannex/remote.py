"""A remote repository as a Service: every command, spoken over a peer from a pool.

One request holds one connection, a `Download`, an `Upload` or a `Lock` for as long as it is open. A connection that
was left in the middle of something is closed, never used again.

A request whose kept connection turns out to be dead is sent once more over a new one, where repeating does no harm.
REMOVE is never repeated: the first may have been done, the client's proof that enough copies exist may have expired
meanwhile, and REMOVE-BEFORE's deadline means nothing to a server that rebooted in between.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NoReturn, Self

import trio

from p2pannex.keys import Key
from p2pannex.peer import TIMEOUT, Peer
from p2pannex.pool import CLOSING, HeldPool, PeerPool, close
from p2pannex.protocol.conversation import State
from p2pannex.protocol.errors import ConnectionLost, RemoteError, RemoteProtocolError, Unsupported
from p2pannex.protocol.messages import (
    LATEST_VERSION,
    AlreadyHave,
    AlreadyHavePlus,
    Auth,
    AuthSuccess,
    Bypass,
    Changed,
    CheckPresent,
    Connect,
    Data,
    DataPresent,
    Error,
    Failure,
    FailurePlus,
    Get,
    GetTimestamp,
    Invalid,
    LockContent,
    Message,
    NotifyChange,
    Put,
    PutFrom,
    Remove,
    RemoveBefore,
    Success,
    SuccessPlus,
    Timestamp,
    UnlockContent,
    Valid,
    Version,
)
from p2pannex.service import AlreadyHave as Present
from p2pannex.service import Download, Lock, NotStored, Removal, Service, Stored, Upload

Dial = Callable[[], Awaitable[Peer]]
"""Makes a new peer, of the client's side, with which nothing was spoken yet."""


CONNECTIONS = 10
"""Connections in use at a time, unless set otherwise, and how many are kept at most when they are not."""


class WrongRepository(ConnectionLost):
    """Another repository answered than the one that was asked for. Nothing was said to it."""


class AuthenticationFailed(ConnectionLost):
    """The server does not accept our token."""


async def greet(
    peer: Peer,
    *,
    version: int = LATEST_VERSION,
    uuid: str | None = None,
    credentials: Auth | None = None,
    bypass: tuple[str, ...] = (),
) -> str:
    """Open a conversation (protocol-spec section 4): authenticate, agree on a version. The server's UUID.

    `uuid` is the one expected, where it is known: another raises WrongRepository.
    """
    if peer.conversation.state is State.AUTHENTICATION:
        if credentials is None:
            raise AuthenticationFailed("this server wants a token, and there is none for it")
        peer.queue(credentials)
    answer = await receive(peer)
    if isinstance(answer, Error):
        raise ConnectionLost(answer.message)
    if not isinstance(answer, AuthSuccess):
        raise AuthenticationFailed("the server does not accept this token")
    if uuid is not None and answer.uuid != uuid:
        raise WrongRepository(f"expected repository {uuid}, found {answer.uuid}")
    if version:
        await peer.send(Version(version))
        await receive(peer)  # an old server answers ERROR: then the version stays 0
    if bypass and peer.conversation.version >= 2:
        peer.queue(Bypass(bypass))
    return answer.uuid


async def receive(peer: Peer, timeout: float | None = None) -> Message:
    """The server's next message. ConnectionLost where it is gone, or makes no sense."""
    try:
        message = await peer.receive(timeout)
    except RemoteProtocolError as error:
        peer.poisoned = True
        raise ConnectionLost(f"the server broke the protocol: {error}") from error
    if message is None:
        peer.poisoned = True
        raise ConnectionLost("the server closed the connection")
    return message


class Remote(Service):
    """A repository on the far side of connections that `dial` makes.

    At most `connections` are in use at a time; further requests wait for one, up to `timeout` seconds. `uuid` is the
    repository expected; without it `open` asks the server. `version` is the highest protocol version to speak.
    Close it with `aclose`, or use it as an ``async with`` block.
    """

    def __init__(
        self,
        dial: Dial,
        uuid: str,
        *,
        version: int = LATEST_VERSION,
        credentials: Auth | None = None,
        connections: int = CONNECTIONS,
        timeout: float = TIMEOUT,
        bypass: tuple[str, ...] = (),
    ) -> None:
        self.uuid = uuid
        self.timeout = timeout
        self._dial = dial
        self._version = version
        self._credentials = credentials
        self._connections = connections
        self._bypass = bypass
        self._pool = PeerPool(self._connect, limit=connections, keep=min(connections, CONNECTIONS), timeout=timeout)

    @classmethod
    async def open(cls, dial: Dial, uuid: str | None = None, **settings: object) -> Self:
        """Connect, and learn the UUID where it is not given. Takes the settings that the class takes."""
        remote = cls(dial, uuid or "", **settings)  # type: ignore[arg-type]
        try:
            peer, _ = await remote._pool.acquire()
            await remote._pool.release(peer)
        except BaseException:
            with trio.CancelScope(shield=True):
                await remote.aclose()
            raise
        return remote

    async def _connect(self) -> Peer:
        peer: Peer | None = None
        try:
            with trio.move_on_after(self.timeout):
                peer = await self._dial()
                found = await greet(
                    peer,
                    version=self._version,
                    uuid=self.uuid or None,
                    credentials=self._credentials,
                    bypass=self._bypass,
                )
                self.uuid = self.uuid or found
                return peer
            raise ConnectionLost(f"no connection within {self.timeout:g} s")
        except BaseException:
            if peer is not None:
                await close(peer)
            raise

    async def version(self) -> int:
        """What was agreed upon with the server; it is connected to, where it is not yet."""
        peer, _ = await self._pool.acquire()
        version = peer.conversation.version
        await self._pool.release(peer)
        return version

    def bypassing(self, uuids: frozenset[str]) -> Remote:
        """The same repository over connections of its own, on which the gateways are told of first."""
        return Remote(
            self._dial,
            self.uuid,
            version=self._version,
            credentials=self._credentials,
            connections=self._connections,
            timeout=self.timeout,
            bypass=tuple(sorted(uuids.union(self._bypass))),
        )

    @asynccontextmanager
    async def consecutive(self) -> AsyncGenerator[Service, None]:
        view = copy.copy(self)
        view._pool = HeldPool(self._pool)
        try:
            yield view
        finally:
            await view.aclose()

    async def aclose(self) -> None:
        await self._pool.aclose()

    # Requests -------------------------------------------------------------------------------------------------

    async def _request(
        self, message: Message, *, repeatable: bool = True, timeout: float | None = None
    ) -> tuple[Peer, Message]:
        """Send a request; the peer, to be given back, and the first answer. RemoteError for an ERROR."""
        peer, used_before = await self._pool.acquire()
        try:
            return peer, await self._first_answer(peer, message, timeout)
        except BaseException as error:
            await self._pool.release(peer)
            if not (isinstance(error, ConnectionLost) and used_before and repeatable):
                raise
        peer, _ = await self._pool.acquire(fresh=True)
        try:
            return peer, await self._first_answer(peer, message, timeout)
        except BaseException:
            await self._pool.release(peer)
            raise

    async def _first_answer(self, peer: Peer, message: Message, timeout: float | None) -> Message:
        if message.since > peer.conversation.version:
            raise Unsupported(
                f"{message.verb.decode()} needs protocol version {message.since}, "
                f"repository {self.uuid} speaks {peer.conversation.version}"
            )
        await peer.send(message)
        answer = await receive(peer, timeout)
        if isinstance(answer, Error):
            raise RemoteError(answer.message)
        return answer

    async def _ask(self, message: Message, *, repeatable: bool = True, timeout: float | None = None) -> Message:
        peer, answer = await self._request(message, repeatable=repeatable, timeout=timeout)
        await self._pool.release(peer)
        return answer

    async def check_present(self, key: Key) -> bool:
        return isinstance(await self._ask(CheckPresent(key)), Success)

    async def lock(self, key: Key) -> Lock | None:
        peer, answer = await self._request(LockContent(key))
        if isinstance(answer, Success):
            return _RemoteLock(self._pool, peer)
        await self._pool.release(peer)
        return None

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        request = Remove(key) if before is None else RemoveBefore(before, key)
        answer = await self._ask(request, repeatable=False)
        return Removal(isinstance(answer, Success | SuccessPlus), self._others(answer))

    async def timestamp(self) -> int:
        answer = await self._ask(GetTimestamp())
        assert isinstance(answer, Timestamp)
        return answer.seconds

    async def put(self, key: Key, file: bytes | None = None) -> Upload | Present:
        peer, answer = await self._request(Put(file, key))
        if isinstance(answer, PutFrom):
            return _RemoteUpload(self, self._pool, peer, answer.offset)
        assert isinstance(answer, AlreadyHave | AlreadyHavePlus)
        await self._pool.release(peer)
        return Present(self._others(answer))

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        peer, answer = await self._request(Get(offset, file, key))
        assert isinstance(answer, Data)
        return _RemoteDownload(self._pool, peer, answer.length, missing=_looks_missing(key, offset, answer.length))

    async def connect(self, program: str, stream: trio.abc.HalfCloseableStream) -> int:
        from p2pannex.carried import relay

        peer, _ = await self._pool.acquire(fresh=True)
        try:
            await peer.send(Connect(program))
            return await relay(peer, stream)
        finally:
            await self._pool.release(peer)

    async def changes(self) -> AsyncGenerator[tuple[str, ...], None]:
        # The server collects what changes between two requests for one connection: it is held all the time.
        peer, answer = await self._request(NotifyChange(), timeout=math.inf)
        try:
            while True:
                assert isinstance(answer, Changed)
                yield answer.refs
                answer = await self._first_answer(peer, NotifyChange(), math.inf)
        finally:
            peer.poisoned = True  # the server watches for as long as the connection is there
            await self._pool.release(peer)

    def _others(self, answer: Message) -> frozenset[str]:
        """The repositories an answer names, besides this one."""
        uuids: tuple[str, ...] = getattr(answer, "uuids", ())
        return frozenset(uuids) - {self.uuid}


def _looks_missing(key: Key, offset: int, length: int) -> bool:
    """Version 0 has no word for "not here" but a body of no bytes; for a key that has bytes there, it is one."""
    return length == 0 and (key.size is None or offset < key.size)


class _Held:
    """A peer that is held for the length of a download, an upload or a lock, and given back once."""

    def __init__(self, pool: PeerPool, peer: Peer) -> None:
        self._pool = pool
        self._held: Peer | None = peer

    @property
    def _peer(self) -> Peer:
        if self._held is None:
            raise ConnectionLost("this transfer or lock is closed")
        return self._held

    async def aclose(self) -> None:
        peer, self._held = self._held, None
        if peer is not None:
            await self._pool.release(peer)


class _RemoteLock(_Held, Lock):
    _released = False

    async def release(self) -> None:
        if self._released:
            return
        await self._peer.send(UnlockContent())
        self._released = True
        await self.aclose()


class _RemoteDownload(_Held, Download):
    def __init__(self, pool: PeerPool, peer: Peer, length: int, *, missing: bool) -> None:
        super().__init__(pool, peer)
        self.length = length
        self._missing = missing
        self._valid: bool | None = None

    @property
    def peer(self) -> Peer | None:
        return self._held

    async def readinto(self, view: memoryview) -> int:
        return await self._peer.read_body(view)

    async def valid(self) -> bool:
        if self._valid is None:
            if self._peer.conversation.version < 1:
                self._valid = not self._missing
            else:
                answer = await receive(self._peer)
                if isinstance(answer, Error):
                    await self.aclose()
                    raise RemoteError(answer.message)
                self._valid = isinstance(answer, Valid)
        return self._valid

    async def finish(self, received: bool) -> None:
        await self._peer.send(Success() if received else Failure())
        await self.aclose()


class _RemoteUpload(_Held, Upload):
    def __init__(self, remote: Remote, pool: PeerPool, peer: Peer, offset: int) -> None:
        super().__init__(pool, peer)
        self._remote = remote
        self.offset = offset

    @property
    def peer(self) -> Peer | None:
        return self._held

    async def begin(self, length: int) -> None:
        self._peer.queue(Data(length))

    async def send_all(self, view: memoryview) -> None:
        await self._peer.write_body(view)

    async def finish(self, valid: bool) -> Stored | NotStored:
        peer = self._peer
        if peer.conversation.version >= 1:
            peer.queue(Valid() if valid else Invalid())
        elif not valid:
            self._abandon("protocol version 0 cannot say that content changed while it was sent")
        return await self._outcome()

    async def data_present(self) -> Stored | NotStored:
        if self._peer.conversation.version < DataPresent.since:
            raise Unsupported(f"DATA-PRESENT needs protocol version {DataPresent.since}")
        self._peer.queue(DataPresent())
        return await self._outcome()

    async def _outcome(self) -> Stored | NotStored:
        answer = await receive(self._peer)
        await self.aclose()
        if isinstance(answer, Error):
            raise RemoteError(answer.message)
        others = self._remote._others(answer)
        if isinstance(answer, Success | SuccessPlus):
            return Stored(others)
        assert isinstance(answer, Failure | FailurePlus)
        return NotStored(others)

    async def aclose(self) -> None:
        # Where it is left in the middle, what was sent is to arrive: a later upload resumes from there. At version 0
        # the last byte would be a promise that all of them are good.
        peer = self._held
        if peer is not None and not peer.poisoned and (peer.conversation.version or peer.conversation.outgoing):
            with trio.move_on_after(CLOSING, shield=True), contextlib.suppress(ConnectionLost):
                await peer.flush()
        await super().aclose()

    def _abandon(self, why: str) -> NoReturn:
        self._peer.poisoned = True
        raise ConnectionLost(why)


__all__ = ["AuthenticationFailed", "Dial", "Remote", "WrongRepository", "greet"]
