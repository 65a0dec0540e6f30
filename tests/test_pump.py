"""The pump: the right bytes in the right order, whatever the lengths, and whatever fails, wherever."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.p2p import bodies
from p2pannex.protocol.messages import AuthSuccess, Data, Get
from p2pannex.service import Download, FileRange
from p2pannex.system.disk_errors import disk_errors
from p2pannex.testing.faults import Operation, cancel_everywhere
from p2pannex.testing.pair import PEERS, peer_pair
from p2pannex.testing.samples import sample
from p2pannex.transports import pump
from p2pannex.transports.pump import BLOCK, PARTIAL_BLOCK_DELAY, SMALL_BODY

LENGTHS = [0, 1, SMALL_BODY, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 1, 5 * BLOCK + 12345]
CONTENT = sample(max(LENGTHS))


class Broken(Exception):
    """What a test's source or sink fails with."""


class Source:
    """Gives content in pieces of those sizes, in turn; fails after `fails` bytes, or ends after `ends`."""

    def __init__(
        self, content: bytes, sizes: list[int], *, fails: int | None = None, ends: int | None = None, pause: float = 0
    ) -> None:
        self.content = content
        self.position = 0
        self._sizes = itertools.cycle(sizes)
        self._fails = fails
        self._ends = ends
        self._pause = pause

    async def readinto(self, view: memoryview) -> int:
        await trio.sleep(self._pause)
        end = len(self.content)
        for limit in (self._fails, self._ends):
            if limit is not None:
                end = min(end, limit)
        if self._fails is not None and self.position >= self._fails:
            raise Broken("source")
        count = min(len(view), next(self._sizes), end - self.position)
        view[:count] = self.content[self.position : self.position + count]
        self.position += count
        return count


class Sink:
    """Takes content, in its own time; fails once it has more than `fails` bytes. It spoils nothing that it keeps."""

    def __init__(self, *, fails: int | None = None, pause: float = 0) -> None:
        self.got = bytearray()
        self.views: list[int] = []
        self._fails = fails
        self._pause = pause

    async def send_all(self, view: memoryview) -> None:
        before = bytes(view)
        await trio.sleep(self._pause)
        assert bytes(view) == before, "the block was written to while it was lent"
        self.got += view
        self.views.append(len(view))
        if self._fails is not None and len(self.got) > self._fails:
            raise Broken("sink")


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("sizes", [[BLOCK * 10], [65536], [1 << 19, 7, 99_991]], ids=str)
@pytest.mark.parametrize("pause", [0, 0.001])
async def test_every_length(
    length: int, sizes: list[int], pause: float, autojump_clock: trio.testing.MockClock
) -> None:
    source, sink = Source(CONTENT, sizes), Sink(pause=pause)
    counts: list[int] = []
    await pump.move(length, source.readinto, sink.send_all, counts.append)
    assert sink.got == CONTENT[:length]
    assert source.position == length, "no more is read than was asked for"
    assert sum(counts) == length
    assert all(sink.views), "an empty view was sent"


async def test_large_ones_go_in_full_blocks() -> None:
    source, sink = Source(CONTENT, [65536]), Sink()
    await pump.move(5 * BLOCK, source.readinto, sink.send_all)
    assert sink.views == [BLOCK] * 5


async def test_a_slow_source_does_not_starve_the_other_side(autojump_clock: trio.testing.MockClock) -> None:
    source, sink = Source(CONTENT, [1000], pause=PARTIAL_BLOCK_DELAY * 2), Sink()
    await pump.move(20_000, source.readinto, sink.send_all)
    assert sink.got == CONTENT[:20_000]
    assert sink.views == [1000] * 20


async def test_source_and_sink_work_at_the_same_time(autojump_clock: trio.testing.MockClock) -> None:
    source, sink = Source(CONTENT, [BLOCK], pause=1), Sink(pause=1)
    began = trio.current_time()
    await pump.move(5 * BLOCK, source.readinto, sink.send_all)
    assert trio.current_time() - began == pytest.approx(6)


FAILURES = [0, 1, 1000, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK - 1]


@pytest.mark.parametrize("length", [1001, BLOCK, 3 * BLOCK])
@pytest.mark.parametrize("at", FAILURES)
@pytest.mark.parametrize("size", [333, BLOCK])
async def test_a_source_that_fails(length: int, at: int, size: int) -> None:
    if at >= length:
        return
    source, sink = Source(CONTENT, [size], fails=at), Sink()
    with pytest.raises(Broken, match="source"):
        await pump.move(length, source.readinto, sink.send_all)
    assert sink.got == CONTENT[:at], "what the source gave before is moved all the same"


@pytest.mark.parametrize("length", [1001, BLOCK, 3 * BLOCK])
@pytest.mark.parametrize("at", FAILURES)
async def test_a_source_that_ends_early(length: int, at: int) -> None:
    if at >= length:
        return
    source, sink = Source(CONTENT, [333], ends=at), Sink()
    with pytest.raises(ConnectionLost):
        await pump.move(length, source.readinto, sink.send_all)
    assert sink.got == CONTENT[:at]


@pytest.mark.parametrize("length", [1001, BLOCK, 5 * BLOCK])
@pytest.mark.parametrize("at", [0, 1000, BLOCK, 2 * BLOCK + 1])
@pytest.mark.parametrize("pause", [0, 0.3])
async def test_a_sink_that_fails(length: int, at: int, pause: float, autojump_clock: trio.testing.MockClock) -> None:
    if at >= length:
        return
    source, sink = Source(CONTENT, [65536], pause=pause), Sink(fails=at)
    with pytest.raises(Broken, match="sink"):
        await pump.move(length, source.readinto, sink.send_all)
    assert sink.got == CONTENT[: len(sink.got)]
    assert source.position < len(sink.got) + 3 * BLOCK


async def test_both_fail_at_once(autojump_clock: trio.testing.MockClock) -> None:
    source, sink = Source(CONTENT, [BLOCK], fails=2 * BLOCK, pause=1), Sink(fails=BLOCK, pause=1)
    with pytest.raises(Broken):
        await pump.move(5 * BLOCK, source.readinto, sink.send_all)


async def test_a_block_that_is_still_lent_is_not_used_again() -> None:
    """A sink that failed may have the block in a thread's hands still: no later transfer may write to it."""
    lent: list[memoryview] = []

    async def keep(view: memoryview) -> None:
        lent.append(view)
        raise Broken("sink")

    for _ in range(5):
        with pytest.raises(Broken):
            await pump.move(3 * BLOCK, Source(CONTENT, [BLOCK]).readinto, keep)
    with trio.move_on_after(0):
        await pump.move(3 * BLOCK, Source(CONTENT, [BLOCK]).readinto, keep)
    before = [bytes(view) for view in lent]
    other = bytes(5 * BLOCK)
    for _ in range(5):
        sink = Sink()
        await pump.move(5 * BLOCK, Source(other, [BLOCK]).readinto, sink.send_all)
        assert sink.got == other
    assert [bytes(view) for view in lent] == before


async def test_two_transfers_do_not_share_blocks() -> None:
    contents = [sample(3 * BLOCK, seed) for seed in range(4)]
    sinks = [Sink(pause=0.001 * seed) for seed in range(4)]
    for _ in range(2):  # the second time with blocks that were used before
        async with trio.open_nursery() as nursery:
            for content, sink in zip(contents, sinks, strict=True):
                sink.got.clear()
                nursery.start_soon(pump.move, 3 * BLOCK, Source(content, [100_003]).readinto, sink.send_all)
        assert [bytes(sink.got) for sink in sinks] == contents


@pytest.mark.parametrize("length", [3000, 3 * BLOCK])
async def test_cancelled_anywhere(length: int) -> None:
    @asynccontextmanager
    async def world() -> AsyncIterator[Operation]:
        source, sink = Source(CONTENT, [max(1000, length // 7)]), Sink()
        yield lambda: pump.move(length, source.readinto, sink.send_all)
        assert sink.got == CONTENT[: len(sink.got)]

    assert await cancel_everywhere(world) > 3


# From a download into a peer ---------------------------------------------------------------------------------------


class Bytes(Download):
    """A download of bytes, which may break."""

    def __init__(self, content: bytes, *, fails: int | None = None) -> None:
        self.length = len(content)
        self._source = Source(content, [100_000], fails=fails)

    async def readinto(self, view: memoryview) -> int:
        return await self._source.readinto(view)

    async def valid(self) -> bool:
        return True

    async def aclose(self) -> None:
        pass


class Range:
    def __init__(self, fd: int, position: int) -> None:
        self._fd = fd
        self.position = position

    def fileno(self) -> int:
        return self._fd

    def advance(self, count: int) -> None:
        self.position += count


class File(Bytes):
    """A download that is a range of a file."""

    def __init__(self, fd: int, offset: int, length: int) -> None:
        super().__init__(b"")
        self.length = length
        self._range = Range(fd, offset)

    @property
    def file_range(self) -> FileRange:
        return self._range

    async def readinto(self, view: memoryview) -> int:
        with disk_errors("cannot read the content"):
            count = os.preadv(self._range.fileno(), [view], self._range.position)
        self._range.advance(count)
        return count


class Elsewhere(File):
    """A download that goes on with content of its own where its file ends."""

    def __init__(self, fd: int, content: bytes) -> None:
        super().__init__(fd, 0, len(content))
        self._content = content

    async def readinto(self, view: memoryview) -> int:
        position = self._range.position
        count = len(self._content[position : position + len(view)])
        view[:count] = self._content[position : position + count]
        self._range.advance(count)
        return count


async def sent(transport: str, download: Download, *, fails: type[Exception] | None = None) -> bytes:
    """What arrives at the far side of a peer."""
    client, server = peer_pair(transport, timeout=5)
    got = bytearray()

    async def receive() -> None:
        assert await client.receive() == AuthSuccess("u")
        await client.send(Get(0, None, Key(b"WORM--x")))
        announced = await client.receive()
        assert announced == Data(download.length) or (announced is None and fails is not None)
        block = bytearray(50_000)
        try:
            while count := await client.read_body(memoryview(block)):
                got.extend(block[:count])
        except ConnectionLost:
            assert fails is not None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await server.send(AuthSuccess("u"))
        await server.receive()
        server.queue(Data(download.length))
        if fails is None:
            await bodies.send(download, server)
            await server.flush()
        else:
            with pytest.raises(fails):
                await bodies.send(download, server)
        await server.aclose()
    await client.aclose()
    return bytes(got)


@pytest.mark.parametrize("transport", PEERS)
@pytest.mark.parametrize("length", [0, 1, SMALL_BODY, SMALL_BODY + 1, BLOCK + 1, 3 * BLOCK + 7])
async def test_downloads_arrive(transport: str, length: int, tmp_path: Path) -> None:
    content = CONTENT[:length]
    assert await sent(transport, Bytes(content)) == content
    path = tmp_path / "content"
    path.write_bytes(b"before" + content + b"after")
    with path.open("rb") as file:
        assert await sent(transport, File(file.fileno(), 6, length)) == content


@pytest.mark.parametrize("transport", PEERS)
@pytest.mark.parametrize("length", [SMALL_BODY, 3 * BLOCK])
async def test_a_file_that_is_shorter_than_it_was(transport: str, length: int, tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(CONTENT[: length - 1000])
    with path.open("rb") as file:
        got = await sent(transport, File(file.fileno(), 0, length), fails=ConnectionLost)
    assert got == CONTENT[: len(got)]


@pytest.mark.parametrize("transport", PEERS)
async def test_a_download_that_breaks(transport: str) -> None:
    got = await sent(transport, Bytes(CONTENT[: 3 * BLOCK], fails=BLOCK + 1000), fails=Broken)
    assert got == CONTENT[: len(got)]


async def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """The far side is as it was: it is the content that failed, and that is what the error says."""
    fd = os.open(tmp_path / "written only", os.O_WRONLY | os.O_CREAT)
    try:
        await sent("socket", File(fd, 0, 3 * BLOCK), fails=RemoteError)
    finally:
        os.close(fd)


@pytest.mark.parametrize("transport", PEERS)
@pytest.mark.parametrize("length", [-1, 0, SMALL_BODY, BLOCK + 4096])
async def test_a_download_that_goes_on_where_its_file_does_not(transport: str, length: int, tmp_path: Path) -> None:
    """It ends early, or, for -1, cannot be read at all; as a cluster's, whose other nodes have the rest."""
    path = tmp_path / "content"
    path.write_bytes(CONTENT[: max(length, 0)])
    fd = os.open(path, os.O_WRONLY if length < 0 else os.O_RDONLY)
    try:
        assert await sent(transport, Elsewhere(fd, CONTENT[: 3 * BLOCK])) == CONTENT[: 3 * BLOCK]
    finally:
        os.close(fd)
