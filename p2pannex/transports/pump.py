"""The only place where the bytes of content move.

`move` takes them from a function that reads into a block to one that takes a block: a message's body into an `Upload`,
a `Download` into an upload, a file into a message's body. Content larger than a block goes through two blocks that are
reused: while one is written, hashed or sent, the other is filled.

Memory is two blocks a transfer, whatever the content.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from p2pannex.errors import ConnectionLost

BLOCK = 2 << 20
"""Bytes of a block. With blocks of half the size, hops to threads took another tenth of a large upload's time."""

SMALL_BODY = 64 * 1024
"""Bytes up to which a body is copied beside its line, to leave in one write."""

FILE_RANGE = 1 << 20
"""Bytes of a file that the kernel is to send at a time: it reads them from the disk while everybody waits."""

PARTIAL_BLOCK_DELAY = 0.05
"""Seconds after which a block that is not full is passed on, so that a slow source does not starve the other side."""

ReadInto = Callable[[memoryview], Awaitable[int]]
SendAll = Callable[[memoryview], Awaitable[None]]
Progress = Callable[[int], None]
"""Called with the number of bytes moved since the last call."""

_spare_blocks: list[bytearray] = []


def _take_block() -> bytearray:
    return _spare_blocks.pop() if _spare_blocks else bytearray(BLOCK)


def _give_block(block: bytearray) -> None:
    if len(_spare_blocks) < 4:
        _spare_blocks.append(block)


async def _fill(view: memoryview, readinto: ReadInto) -> tuple[int, Exception | None]:
    """Read until `view` is full, or until patience ends with something in it.

    The number of bytes, and why there will be no more: what arrived before a source failed is moved all the same, for
    whoever keeps it to resume from.
    """
    filled = 0
    started = trio.current_time()
    try:
        while filled < len(view):
            count = await readinto(view[filled:])
            if not count:
                raise ConnectionLost("the content ended before its announced length")
            filled += count
            if trio.current_time() - started > PARTIAL_BLOCK_DELAY:
                break
    except Exception as error:
        return filled, error
    return filled, None


async def move(length: int, readinto: ReadInto, send_all: SendAll, progress: Progress | None = None) -> None:
    """Move exactly `length` bytes from `readinto` to `send_all`. ConnectionLost where the source ends earlier.

    What either raises comes out as it is. Where the source fails, all that it gave before has been moved; where
    `send_all` fails, the source is left where it was, some blocks further on.
    """
    if length > BLOCK:
        await _move_overlapped(length, readinto, send_all, progress)
        return
    view = memoryview(bytearray(length))
    moved = 0
    while moved < length:
        count, failure = await _fill(view[: length - moved], readinto)
        if count:
            await send_all(view[:count])
            moved += count
            if progress is not None:
                progress(count)
        if failure is not None:
            raise failure


async def _move_overlapped(length: int, readinto: ReadInto, send_all: SendAll, progress: Progress | None) -> None:
    blocks = [_take_block(), _take_block()]
    free_send, free_receive = trio.open_memory_channel[bytearray](2)
    full_send, full_receive = trio.open_memory_channel[tuple[bytearray, int]](2)
    for block in blocks:
        free_send.send_nowait(block)
    failure: Exception | None = None

    async def read() -> None:
        nonlocal failure
        with full_send:
            left = length
            while left:
                block = await free_receive.receive()
                count, ended = await _fill(memoryview(block)[: min(BLOCK, left)], readinto)
                if count:
                    full_send.send_nowait((block, count))
                if ended is not None:
                    failure = failure or ended
                    return
                left -= count

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        try:
            async for block, count in full_receive:
                await send_all(memoryview(block)[:count])
                if progress is not None:
                    progress(count)
                free_send.send_nowait(block)
        except Exception as error:
            failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    for block in blocks:
        _give_block(block)
