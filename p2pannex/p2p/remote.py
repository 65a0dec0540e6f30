"""A remote repository as a Service: each request is sent over a connection from a pool.

A request uses one connection. A `Download`, an `Upload` or a `Lock` uses it until it is closed. A connection that was
abandoned in the middle of a message or a request is closed and not used again.

If a pooled connection turns out to be dead, the request is sent once more over a new connection, unless it is REMOVE or
REMOVE-BEFORE. Repeating these is not safe, for three reasons:

- the server may have processed the first request;
- the client's evidence that enough copies exist may have expired meanwhile;
- the deadline of REMOVE-BEFORE has no meaning for a server that has rebooted in between.

Numbers that the server sends are checked before they are used, where the key tells the size of its content: the length
of a body, and the byte to upload from. `WrongContent` for one that cannot be right.
"""

from __future__ import annotations

import copy
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

import trio

from p2pannex.errors import ConnectionLost, RemoteError, Unsupported, WrongContent
from p2pannex.keys.key import Key
from p2pannex.p2p.handshake import AuthenticationFailed, WrongRepository, handshake, receive, remote_error
from p2pannex.p2p.peer import PEER_TIMEOUT, Peer
from p2pannex.p2p.pool import PeerPool, PinnedPool, close
from p2pannex.p2p.remote_transfers import (
    RemoteDownload,
    RemoteLock,
    RemoteUpload,
    log_remarks,
    others,
    reason_of_failure,
)
from p2pannex.protocol import messages as m
from p2pannex.service import AlreadyHave, Download, Lock, NotLocked, NotStored, Removal, Service, Stored, Upload

Dial = Callable[[], Awaitable[Peer]]
"""Opens a connection and returns the client's peer, before any message was sent or received."""


CONNECTIONS = 10
"""How many connections may be in use at a time, by default, and how many idle ones are kept at most."""

UNKNOWN_SIZE = 100_000_000_000
"""How many bytes the content of a key without a size is expected to have at most, where it may have to be hashed."""


class Remote(Service):
    """The repository that `dial` connects to.

    At most `connections` are in use at a time; further requests wait for one, for up to `timeout` seconds. `timeout`
    also limits the time to connect. `uuid` is the repository's UUID; if it is not known, use `open`. `version` is the
    highest protocol version to speak. The caller closes it with `aclose`, or uses it as an ``async with`` block.
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
        """Connect to the repository. Its UUID comes from the server, and must be `uuid` if that is given.

        `settings` are the keyword arguments of the class.
        """
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
        """The version negotiated with the server. Connects to it if there is no connection."""
        peer, _ = await self._pool.acquire()
        version = peer.conversation.version
        await self._pool.release(peer)
        return version

    def bypassing(self, uuids: frozenset[str]) -> Remote:
        """The same repository, over separate connections that start with BYPASS and these gateways."""
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
        """Send a request. Returns its first reply and the peer, which the caller releases. RemoteError for ERROR."""
        peer, used_before = await self._pool.acquire()
        try:
            return peer, await self._exchange(peer, message, timeout)
        except BaseException as error:
            await self._pool.release(peer)
            if not (isinstance(error, ConnectionLost) and used_before and repeatable):
                raise
        peer, _ = await self._pool.acquire(fresh=True)
        try:
            return peer, await self._exchange(peer, message, timeout)
        except BaseException:
            await self._pool.release(peer)
            raise

    async def _exchange(self, peer: Peer, message: m.Message, timeout: float | None) -> m.Message:
        if message.since > peer.conversation.version:
            raise Unsupported(
                f"{message.verb.decode()} needs protocol version {message.since}, "
                f"repository {self.uuid} speaks {peer.conversation.version}"
            )
        peer.unverified = _to_verify(getattr(message, "key", None))
        log_remarks(peer)  # those of earlier requests
        try:
            await peer.send(message)
            reply = await receive(peer, timeout)
        finally:
            peer.unverified = 0
        if isinstance(reply, m.Error):
            peer.remarks()  # it is in the error as well
            raise remote_error(reply.message)
        return reply

    async def _reply(self, message: m.Message, *, repeatable: bool = True, timeout: float | None = None) -> m.Message:
        peer, reply = await self._request(message, repeatable=repeatable, timeout=timeout)
        await self._pool.release(peer)
        return reply

    async def check_present(self, key: Key) -> bool:
        return isinstance(await self._reply(m.CheckPresent(key)), m.Success)

    async def lock(self, key: Key) -> Lock:
        peer, reply = await self._request(m.LockContent(key))
        if isinstance(reply, m.Success):
            return RemoteLock(self._pool, peer)
        await self._pool.release(peer)
        raise NotLocked(f"{key} is not present or cannot be locked")

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        request = m.Remove(key) if before is None else m.RemoveBefore(before, key)
        peer, reply = await self._request(request, repeatable=False)
        ok = isinstance(reply, m.Success | m.SuccessPlus)
        reason = "" if ok else reason_of_failure(peer)
        await self._pool.release(peer)
        return Removal(ok, others(reply, self.uuid), reason)

    async def timestamp(self) -> int:
        reply = await self._reply(m.GetTimestamp())
        assert isinstance(reply, m.Timestamp)
        return reply.seconds

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        peer, reply = await self._request(m.Put(file, key))
        if isinstance(reply, m.PutFrom):
            upload = RemoteUpload(self.uuid, self._pool, peer, reply.offset)
            upload.size = _to_verify(key)
            size = key.size
            if size is None or reply.offset <= size:
                return upload
            # What it kept is not from this content, and there is no byte that it asks for. It may discard that now.
            try:
                outcome = await upload.turn_down()
            except (RemoteError, ConnectionLost):
                outcome = NotStored()
            if isinstance(outcome, Stored):
                return AlreadyHave(outcome.uuids)
            raise WrongContent(f"repository {self.uuid} kept {reply.offset} bytes of {key}, which has {size}")
        assert isinstance(reply, m.AlreadyHaveReply | m.AlreadyHavePlusReply)
        log_remarks(peer)
        await self._pool.release(peer)
        return AlreadyHave(others(reply, self.uuid))

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        peer, reply = await self._request(m.Get(offset, file, key))
        assert isinstance(reply, m.Data)
        size = key.size
        if reply.length and size is not None and offset + reply.length != size:
            peer.poisoned = True  # its body is not read
            await self._pool.release(peer)
            raise WrongContent(f"repository {self.uuid} announces {offset + reply.length} bytes for {key}")
        return RemoteDownload(self._pool, peer, key, offset, reply.length)

    async def connect(self, program: str, stream: trio.abc.HalfCloseableStream) -> int:
        from p2pannex.p2p.tunnel import relay

        peer, _ = await self._pool.acquire(fresh=True)
        try:
            await peer.send(m.Connect(program))
            return await relay(peer, stream)
        finally:
            await self._pool.release(peer)

    async def changes(self) -> AsyncGenerator[tuple[str, ...], None]:
        # The server collects changes between two requests per connection, so all requests use the same connection.
        peer, reply = await self._request(m.NotifyChange(), timeout=math.inf)
        try:
            while True:
                assert isinstance(reply, m.Changed)
                yield reply.refs
                reply = await self._exchange(peer, m.NotifyChange(), math.inf)
        finally:
            peer.poisoned = True  # the server watches for changes until the connection is closed
            await self._pool.release(peer)


def _to_verify(key: Key | None) -> int:
    """Bytes that a server may have to read before it replies to a request about the key: it vouches for content that
    others may have changed only after it has hashed it, and it may have to overwrite content to remove it."""
    if key is None:
        return 0
    if key.size is not None:
        return key.size
    return UNKNOWN_SIZE if key.verifier().conclusive else 0


__all__ = ["CONNECTIONS", "AuthenticationFailed", "Dial", "Remote", "WrongRepository", "handshake"]
