"""The downloads, uploads and locks of a `Remote`. Each one uses a connection until it is closed."""

from __future__ import annotations

import contextlib
import logging
from typing import NoReturn

import trio

from p2pannex.errors import ConnectionLost, RemoteError, Unsupported
from p2pannex.keys.key import Key
from p2pannex.p2p.handshake import receive, remote_error
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.pool import PEER_CLOSE_TIMEOUT, PeerPool
from p2pannex.protocol import messages as m
from p2pannex.service import DirectBody, Download, Lock, NotStored, Stored, Upload
from p2pannex.terminal import safe_line

log = logging.getLogger(__name__)


def others(reply: m.Message, uuid: str) -> frozenset[str]:
    """The repositories that a reply names, except `uuid`, which sent it."""
    uuids: tuple[str, ...] = getattr(reply, "uuids", ())
    return frozenset(uuids) - {uuid}


def log_remarks(peer: Peer) -> None:
    """Log what the server wrote on its standard error: a gateway's node has failed, for example, but the request has
    succeeded."""
    for remark in peer.remarks():
        log.warning("%s", safe_line(remark))


def reason_of_failure(peer: Peer) -> str:
    """Why the server has just replied FAILURE: what it wrote on its standard error last. Empty if it is not known."""
    return safe_line((peer.remarks() or [""])[-1])


class _CheckedOutPeer:
    """Base of a download, upload or lock: it owns a peer of the pool and releases it once."""

    def __init__(self, pool: PeerPool, peer: Peer) -> None:
        self._pool = pool
        self._checked_out: Peer | None = peer

    @property
    def _peer(self) -> Peer:
        if self._checked_out is None:
            raise ConnectionLost("this transfer or lock is closed")
        return self._checked_out

    async def aclose(self) -> None:
        peer, self._checked_out = self._checked_out, None
        if peer is not None:
            peer.unverified = peer.announced = 0
            await self._pool.release(peer)


class RemoteLock(_CheckedOutPeer, Lock):
    _released = False

    async def release(self) -> None:
        if self._released:
            return
        await self._peer.send(m.UnlockContent())
        self._released = True
        await self.aclose()


class RemoteDownload(_CheckedOutPeer, Download):
    def __init__(self, pool: PeerPool, peer: Peer, key: Key, offset: int, length: int) -> None:
        super().__init__(pool, peer)
        self.length = length
        self._end = offset + length
        # A server without the content sends no bytes. The key may show that; otherwise only VALID or INVALID does,
        # and version 0 has neither: there, no bytes always mean that the content is not present.
        size = key.size
        known_to_lack_bytes = peer.conversation.version < 1 if size is None else offset < size
        self._missing = length == 0 and known_to_lack_bytes
        self._valid: bool | None = None

    @property
    def direct(self) -> DirectBody | None:
        return self._checked_out

    async def readinto(self, view: memoryview) -> int:
        return await self._peer.read_body(view)

    async def valid(self) -> bool:
        if self._valid is None:
            if self._peer.conversation.version < 1:
                self._valid = not self._missing
            else:
                self._peer.unverified = self._end  # it may have to hash all that comes before the end
                reply = await receive(self._peer)
                if isinstance(reply, m.Error):
                    await self.aclose()
                    raise RemoteError(reply.message)
                self._valid = isinstance(reply, m.Valid) and not self._missing
        return self._valid

    async def finish(self, received: bool) -> None:
        await self._peer.send(m.Success() if received else m.Failure())
        await self.aclose()


class RemoteUpload(_CheckedOutPeer, Upload):
    size = 0
    """Bytes of the whole content, which the server may have to hash before it replies to DATA-PRESENT."""

    def __init__(self, uuid: str, pool: PeerPool, peer: Peer, offset: int) -> None:
        super().__init__(pool, peer)
        self._uuid = uuid
        self.offset = offset
        # The server may hash what it has kept before it reads the first byte, or all of it before it replies.
        peer.unverified = offset

    @property
    def direct(self) -> DirectBody | None:
        return self._checked_out

    async def begin(self, length: int) -> None:
        self._peer.queue(m.Data(length))
        self._peer.announced = length

    async def send_all(self, view: memoryview) -> None:
        await self._peer.write_body(view)

    async def finish(self, valid: bool) -> Stored | NotStored:
        peer = self._peer
        if peer.conversation.version >= 1:
            peer.queue(m.Valid() if valid else m.Invalid())
        elif not valid:
            self._abandon("protocol version 0 cannot say that content changed while it was sent")
        return await self._outcome()

    async def data_present(self) -> Stored | NotStored:
        if self._peer.conversation.version < m.DataPresent.since:
            raise Unsupported(f"DATA-PRESENT needs protocol version {m.DataPresent.since}")
        self._peer.unverified = self.size
        self._peer.queue(m.DataPresent())
        return await self._outcome()

    async def turn_down(self) -> Stored | NotStored:
        """Send no bytes, and report them as not valid: so the connection can be used again (protocol-spec section 9).

        Stored if the service had all of the content already. ConnectionLost at version 0, which has no INVALID.
        """
        try:
            if self._peer.conversation.version < 1:
                self._abandon("protocol version 0 cannot decline to send content")
            await self.begin(0)
            return await self.finish(False)
        finally:
            await self.aclose()

    async def _outcome(self) -> Stored | NotStored:
        peer = self._peer
        reply = await receive(peer)
        named = others(reply, self._uuid)
        try:
            if isinstance(reply, m.Error):
                peer.remarks()  # it is in the error as well
                raise remote_error(reply.message)
            if isinstance(reply, m.Success | m.SuccessPlus):
                log_remarks(peer)
                return Stored(named)
            assert isinstance(reply, m.Failure | m.FailurePlus)
            return NotStored(named, reason=reason_of_failure(peer))
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        # Send the queued part of an unfinished upload: a later upload resumes from there. Not so at version 0 if the
        # body is complete: without VALID, its last byte states that all bytes are good.
        peer = self._checked_out
        if peer is not None and not peer.poisoned and (peer.conversation.version or peer.conversation.outgoing):
            with trio.move_on_after(PEER_CLOSE_TIMEOUT, shield=True), contextlib.suppress(ConnectionLost):
                await peer.flush()
        await super().aclose()

    def _abandon(self, why: str) -> NoReturn:
        self._peer.poisoned = True
        raise ConnectionLost(why)
