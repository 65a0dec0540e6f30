"""A server stops to work on a request when its client has left."""

from __future__ import annotations

import contextlib
import math

import pytest
import trio

from p2pannex.errors import ConnectionLost
from p2pannex.keys.key import Key
from p2pannex.p2p import client_watch
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.server import serve
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol import messages as m
from p2pannex.service import AlreadyHave, Download, Lock, NotStored, Removal, Stored, Upload
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.pair import PEERS, peer_pair
from p2pannex.testing.samples import key_of, sample
from p2pannex.transports.descriptor import DescriptorStream

CONTENT = sample(30_000_000)
KEY = key_of(CONTENT)
ABSENT = key_of(b"absent")

SEEN = sorted(set(PEERS) - {"stream"})
"""Transports whose end can be seen without reading."""


class Slow(MemoryStore):
    """Every request takes very long. `ended` is set when one was given up."""

    def __init__(self) -> None:
        super().__init__("slow")
        self.begun = trio.Event()
        self.ended = trio.Event()
        self.wait = True
        self.seconds = 1000.0

    async def work(self) -> None:
        self.begun.set()
        try:
            if self.wait:
                await trio.sleep(self.seconds)
        finally:
            self.ended.set()

    async def check_present(self, key: Key) -> bool:
        await self.work()
        return True

    async def lock(self, key: Key) -> Lock:
        await self.work()
        return await super().lock(key)

    async def timestamp(self) -> int:
        await self.work()
        return 1

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        await self.work()
        return await super().get(key, offset=offset, file=file)

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        return SlowUpload(self)


class SlowUpload(Upload):
    """Takes long after the last byte, as where what was kept is hashed then."""

    def __init__(self, store: Slow) -> None:
        self._store = store

    async def begin(self, length: int) -> None:
        pass

    async def send_all(self, view: memoryview) -> None:
        pass

    async def finish(self, valid: bool) -> Stored | NotStored:
        await self._store.work()
        return Stored()

    async def data_present(self) -> Stored | NotStored:
        return await self.finish(True)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_watch, "INTERVAL", 0.02)


async def serving(peer: Peer, service: MemoryStore) -> None:
    with contextlib.suppress(ConnectionLost):
        await serve(peer, service)


REQUESTS: dict[str, list[m.Message]] = {
    "CHECKPRESENT": [m.CheckPresent(KEY)],
    "LOCKCONTENT": [m.LockContent(KEY)],
    "GETTIMESTAMP": [m.GetTimestamp()],
    "GET": [m.Get(0, None, KEY)],
    "PUT": [m.Put(None, ABSENT), m.Data(0), m.Valid()],
    "DATA-PRESENT": [m.Put(None, ABSENT), m.DataPresent()],
}


@pytest.mark.parametrize("transport", SEEN)
@pytest.mark.parametrize("request_", REQUESTS)
async def test_work_ends_when_the_client_has_left(transport: str, request_: str) -> None:
    here = Slow()
    client, server = peer_pair(transport)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serving, server, here)
        await client.receive()
        await client.send(m.Version(4))
        await client.receive()
        for message in REQUESTS[request_]:
            await client.send(message)
            if isinstance(message, m.Put):
                await client.receive()
        await here.begun.wait()
        await trio.sleep(0.1)
        assert not here.ended.is_set(), "the client is still there"
        await client.aclose()
        with trio.fail_after(50):
            await here.ended.wait()


async def test_a_client_on_pipes_that_closes_its_sending_side_gets_its_reply() -> None:
    """As of ``printf ... | p2pannex-shell``, where the last request takes long."""
    here = Slow()
    here.seconds = 0.5
    client, server = peer_pair("pipe")
    assert isinstance(client, StreamPeer)
    assert isinstance(client.stream, DescriptorStream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serving, server, here)
        await client.receive()
        await client.send(m.CheckPresent(KEY))
        await here.begun.wait()
        await client.stream.send_eof()
        with trio.fail_after(50):
            assert await client.receive() == m.Success()
            await here.ended.wait()
    await client.aclose()


@pytest.mark.parametrize("reads", [False, True])
async def test_a_body_is_sent_to_a_client_that_reads_it_and_to_no_other(reads: bool) -> None:
    """On a socket whose sending side the client has closed."""
    here = Slow()
    here.wait = False
    here.contents[KEY] = CONTENT
    client, server = peer_pair("socket", timeout=math.inf)  # as a server waits for its client
    assert isinstance(client, StreamPeer)
    assert isinstance(client.stream, DescriptorStream)
    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + 50
        nursery.start_soon(serving, server, here)
        await client.receive()
        await client.send(m.Get(0, None, KEY))
        data = await client.receive()
        assert isinstance(data, m.Data)
        await client.stream.send_eof()
        if reads:
            block = memoryview(bytearray(100_000))
            got = 0
            while count := await client.read_body(block):
                got += count
                await trio.sleep(0.001)
            assert got == len(CONTENT)
        # In both cases the server ends now: this block does.
    assert not nursery.cancel_scope.cancelled_caught
    await client.aclose()


async def test_a_removal_is_finished() -> None:
    """Its second half, writing the log, belongs to it."""

    class Removing(Slow):
        done = False

        async def remove(self, key: Key, *, before: int | None = None) -> Removal:
            self.begun.set()
            await trio.sleep(0.3)
            self.done = True
            return Removal(True)

    here = Removing()
    client, server = peer_pair("pipe")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serving, server, here)
        await client.receive()
        await client.send(m.Remove(KEY))
        await here.begun.wait()
        await client.aclose()
    assert here.done


async def test_a_session_goes_on_after_long_requests() -> None:
    here = Slow()
    client, server = peer_pair("socket")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serving, server, MemoryStore("quick"))
        await client.receive()
        for _ in range(3):
            await client.send(m.CheckPresent(KEY))
            assert await client.receive() == m.Failure()
            await trio.sleep(0.1)
        await client.aclose()
    assert not here.begun.is_set()
