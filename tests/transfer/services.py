"""Services to transfer from and to, over connections that break after any number of bytes.

The connections are real socket pairs, spoken over by `serve` and `Remote`.
"""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from p2pannex.errors import ConnectionLost
from p2pannex.keys.key import Key
from p2pannex.p2p.remote import Remote
from p2pannex.p2p.server import serve
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol.conversation import Side
from p2pannex.service import AlreadyHave, Download, NotStored, Upload
from p2pannex.stores.memory import MemoryStore
from p2pannex.transfer.transfer import Transferred
from p2pannex.transports.descriptor import DescriptorStream

SMALL_CONTENT = random.Random(1).randbytes(300)
LARGE_CONTENT = random.Random(2).randbytes(5_000_011)


class BreakingStream(trio.abc.Stream):
    """Passes on `receive` bytes one way and `send` bytes the other, then breaks, as a lost connection does."""

    def __init__(self, inner: trio.abc.Stream, receive: int | None, send: int | None) -> None:
        self.inner = inner
        self.receive = receive
        self.send = send

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self.receive is None:
            return bytes(await self.inner.receive_some(max_bytes))
        if not self.receive:
            await self.inner.aclose()
            raise trio.BrokenResourceError("cut")
        data = bytes(await self.inner.receive_some(min(max_bytes or 65536, self.receive)))
        self.receive -= len(data)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.send is not None:
            if len(data) > self.send:
                await self.inner.send_all(memoryview(data)[: self.send])
                await self.inner.aclose()
                raise trio.BrokenResourceError("cut")
            self.send -= len(data)
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.inner.aclose()


Cut = tuple[int | None, int | None]
"""Bytes after which a connection breaks: received, sent."""

WHOLE: Cut = (None, None)


@asynccontextmanager
async def remote_to(store: MemoryStore, cuts: Sequence[Cut] = (), version: int = 4) -> AsyncIterator[Remote]:
    """A Remote whose connections break as `cuts` says, one after another; those that follow do not."""
    left = list(cuts)

    async def answer(peer: StreamPeer) -> None:
        try:
            await serve(peer, store)
        except ConnectionLost:
            pass

    async with trio.open_nursery() as nursery:

        async def dial() -> StreamPeer:
            ours, theirs = socket.socketpair()
            nursery.start_soon(answer, StreamPeer(DescriptorStream.over_socket(theirs), Side.SERVER))
            cut = left.pop(0) if left else WHOLE
            return StreamPeer(BreakingStream(DescriptorStream.over_socket(ours), *cut), Side.CLIENT)

        async with Remote(dial, store.uuid, version=version) as remote:
            yield remote
        nursery.cancel_scope.cancel()


class Watched:
    """A progress callback that holds every report to what `Transferred` promises."""

    def __init__(self) -> None:
        self.reports: list[Transferred] = []

    def __call__(self, now: Transferred) -> None:
        if self.reports:
            assert now.offset == self.reports[0].offset
        else:
            assert now.count == now.offset
        if now.total is not None:
            assert now.count <= now.total
        self.reports.append(now)


def partials(directory: Path) -> list[Path]:
    return list(directory.glob("*.p2pannex-partial"))


class Doubting(MemoryStore):
    """Says INVALID of everything it gives."""

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        download = await super().get(key, offset=offset, file=file)

        async def valid() -> bool:
            return False

        download.valid = valid  # type: ignore[method-assign]
        return download


class Refusing(MemoryStore):
    """Receives content and does not store it; it replies that the repositories `uuids` did."""

    def __init__(self, uuids: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.uuids = uuids

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        upload = await super().put(key, file)
        assert isinstance(upload, Upload)

        async def finish(valid: bool) -> NotStored:
            await upload.aclose()
            return NotStored(self.uuids)

        upload.finish = finish  # type: ignore[method-assign]
        return upload


class Told(MemoryStore):
    """Notes what it is told about what it sent. Its first download stops after `stops_at` bytes, without an error."""

    def __init__(self, stops_at: int | None = None) -> None:
        super().__init__()
        self.stops_at = stops_at
        self.receipts: list[bool] = []

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        download = await super().get(key, offset=offset, file=file)
        readinto, left = download.readinto, self.stops_at
        self.stops_at = None

        async def finish(received: bool) -> None:
            self.receipts.append(received)

        async def read_some(view: memoryview) -> int:
            nonlocal left
            if left is None:
                return await readinto(view)
            count = await readinto(view[:left])
            left -= count
            return count

        download.finish = finish  # type: ignore[method-assign]
        download.readinto = read_some  # type: ignore[method-assign]
        return download
