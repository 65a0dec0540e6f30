"""A remote repository as a Service: every command, spoken over a peer from a pool.

One request holds one connection, a `Download`, an `Upload` or a `Lock` for as long as it is open. A connection that
was left in the middle of something is closed, never used again.

A request whose kept connection turns out to be dead is sent once more over a new one, where repeating does no harm.
REMOVE is never repeated: the first may have been done, the client's proof that enough copies exist may have expired
meanwhile, and REMOVE-BEFORE's deadline means nothing to a server that rebooted in between.
"""

from __future__ import annotations

import copy
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

import trio

from p2pannex.errors import ConnectionLost, RemoteError, Unsupported
from p2pannex.keys.key import Key
from p2pannex.p2p.handshake import AuthenticationFailed, WrongRepository, handshake, receive
from p2pannex.p2p.peer import PEER_TIMEOUT, Peer
from p2pannex.p2p.pool import PeerPool, PinnedPool, close
from p2pannex.p2p.remote_transfers import RemoteDownload, RemoteLock, RemoteUpload, looks_missing, others
from p2pannex.protocol import messages as m
from p2pannex.service import AlreadyHave, Download, Lock, Removal, Service, Upload

Dial = Callable[[], Awaitable[Peer]]
"""Makes a new peer, of the client's side, with which nothing was spoken yet."""


CONNECTIONS = 10
"""Connections in use at a time, unless set otherwise, and how many are kept at most when they are not."""


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
        version: int = m.LATEST_VERSION,
        credentials: m.Auth | None = None,
        connections: int = CONNECTIONS,
        timeout: float = PEER_TIMEOUT,
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
                found = await handshake(
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
    async def pinned(self) -> AsyncGenerator[Service, None]:
        view = copy.copy(self)
        view._pool = PinnedPool(self._pool)
        try:
            yield view
        finally:
            await view.aclose()

    async def aclose(self) -> None:
        await self._pool.aclose()

    # Requests -------------------------------------------------------------------------------------------------

    async def _request(
        self, message: m.Message, *, repeatable: bool = True, timeout: float | None = None
    ) -> tuple[Peer, m.Message]:
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

    async def _first_answer(self, peer: Peer, message: m.Message, timeout: float | None) -> m.Message:
        if message.since > peer.conversation.version:
            raise Unsupported(
                f"{message.verb.decode()} needs protocol version {message.since}, "
                f"repository {self.uuid} speaks {peer.conversation.version}"
            )
        await peer.send(message)
        answer = await receive(peer, timeout)
        if isinstance(answer, m.Error):
            raise RemoteError(answer.message)
        return answer

    async def _ask(self, message: m.Message, *, repeatable: bool = True, timeout: float | None = None) -> m.Message:
        peer, answer = await self._request(message, repeatable=repeatable, timeout=timeout)
        await self._pool.release(peer)
        return answer

    async def check_present(self, key: Key) -> bool:
        return isinstance(await self._ask(m.CheckPresent(key)), m.Success)

    async def lock(self, key: Key) -> Lock | None:
        peer, answer = await self._request(m.LockContent(key))
        if isinstance(answer, m.Success):
            return RemoteLock(self._pool, peer)
        await self._pool.release(peer)
        return None

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        request = m.Remove(key) if before is None else m.RemoveBefore(before, key)
        answer = await self._ask(request, repeatable=False)
        return Removal(isinstance(answer, m.Success | m.SuccessPlus), others(answer, self.uuid))

    async def timestamp(self) -> int:
        answer = await self._ask(m.GetTimestamp())
        assert isinstance(answer, m.Timestamp)
        return answer.seconds

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        peer, answer = await self._request(m.Put(file, key))
        if isinstance(answer, m.PutFrom):
            return RemoteUpload(self.uuid, self._pool, peer, answer.offset)
        assert isinstance(answer, m.AlreadyHaveReply | m.AlreadyHavePlusReply)
        await self._pool.release(peer)
        return AlreadyHave(others(answer, self.uuid))

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        peer, answer = await self._request(m.Get(offset, file, key))
        assert isinstance(answer, m.Data)
        return RemoteDownload(self._pool, peer, answer.length, missing=looks_missing(key, offset, answer.length))

    async def connect(self, program: str, stream: trio.abc.HalfCloseableStream) -> int:
        from p2pannex.p2p.tunnel import relay

        peer, _ = await self._pool.acquire(fresh=True)
        try:
            await peer.send(m.Connect(program))
            return await relay(peer, stream)
        finally:
            await self._pool.release(peer)

    async def changes(self) -> AsyncGenerator[tuple[str, ...], None]:
        # The server collects what changes between two requests for one connection: it is held all the time.
        peer, answer = await self._request(m.NotifyChange(), timeout=math.inf)
        try:
            while True:
                assert isinstance(answer, m.Changed)
                yield answer.refs
                answer = await self._first_answer(peer, m.NotifyChange(), math.inf)
        finally:
            peer.poisoned = True  # the server watches for as long as the connection is there
            await self._pool.release(peer)


__all__ = ["CONNECTIONS", "AuthenticationFailed", "Dial", "Remote", "WrongRepository", "handshake"]
