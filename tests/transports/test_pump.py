"""The pump: the right bytes in the right order, whatever the lengths, and whatever fails, wherever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost
from p2pannex.testing.faults import Operation, cancel_everywhere
from p2pannex.testing.samples import sample
from p2pannex.transports import pump
from p2pannex.transports.pump import BLOCK, PARTIAL_BLOCK_DELAY
from tests.transports.ends import CONTENT, LENGTHS, Broken, Source


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


# Memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("sizes", [[BLOCK * 10], [65536], [1 << 19, 7, 99_991]], ids=str)
@pytest.mark.parametrize("limit", [0, BLOCK, 2 * BLOCK])
async def test_every_length_from_a_source_that_stalls(
    length: int, sizes: list[int], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump.blocks, "limit", limit)
    source, sink = Source(CONTENT, sizes), Sink()
    await pump.move(length, source.readinto, sink.send_all, stalls=True)
    assert sink.got == CONTENT[:length]
    assert source.position == length, "no more is read than was asked for"
    assert all(sink.views), "an empty view was sent"
    assert pump.blocks.used == 0


class Stalling(Source):
    """Gives `stop` bytes, then nothing for an hour, then the rest."""

    def __init__(self, stop: int) -> None:
        super().__init__(CONTENT, [65536])
        self.stop = stop

    async def readinto(self, view: memoryview) -> int:
        if self.position == self.stop:
            await trio.sleep(3600)
            self.stop = -1
        return await super().readinto(view[: self.stop - self.position] if self.position < self.stop else view)


@pytest.mark.parametrize("length", [BLOCK, 3 * BLOCK])
@pytest.mark.parametrize("stop", [0, 10, 65536, 65537, BLOCK - 1, BLOCK + 1])
async def test_a_stalled_source_has_no_block(length: int, stop: int, autojump_clock: trio.testing.MockClock) -> None:
    if stop >= length:
        return
    source, sink = Stalling(stop), Sink()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(pump.move, length, source.readinto, sink.send_all, stalls=True))
        await trio.sleep(1)
        assert pump.blocks.used == 0
        assert sink.got == CONTENT[:stop], "what has arrived is passed on"
    assert sink.got == CONTENT[:length]
    assert pump.blocks.used == 0


async def test_all_transfers_together_have_a_limit(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setattr(pump.blocks, "limit", 3 * BLOCK)
    sinks = [Sink(pause=1) for _ in range(6)]
    async with trio.open_nursery() as nursery:
        for number, sink in enumerate(sinks):
            source = Source(CONTENT, [65536])
            nursery.start_soon(partial(pump.move, 3 * BLOCK, source.readinto, sink.send_all, stalls=bool(number % 2)))
        await trio.sleep(0.5)
        assert pump.blocks.used == 3 * BLOCK
    assert all(sink.got == CONTENT[: 3 * BLOCK] for sink in sinks)
    assert pump.blocks.used == 0


@pytest.mark.parametrize("stalls", [False, True])
@pytest.mark.parametrize("length", [BLOCK, 3 * BLOCK])
async def test_failed_and_cancelled_transfers_give_their_memory_back(
    length: int, stalls: bool, autojump_clock: trio.testing.MockClock
) -> None:
    for source, sink in (
        (Source(CONTENT, [65536], fails=BLOCK // 2), Sink()),
        (Source(CONTENT, [65536]), Sink(fails=BLOCK // 2)),
    ):
        with pytest.raises(Broken):
            await pump.move(length, source.readinto, sink.send_all, stalls=stalls)
        assert pump.blocks.used == 0
    for source_pause, sink_pause in ((100.0, 0.0), (0.0, 100.0)):
        with trio.move_on_after(10):
            source, sink = Source(CONTENT, [65536], pause=source_pause), Sink(pause=sink_pause)
            await pump.move(length, source.readinto, sink.send_all, stalls=stalls)
        assert pump.blocks.used == 0
