"""The pump: moves the bytes of content from a source to a target.

`move` calls a function that reads into a block, then one that accepts a block. So it moves a message's body into an
`Upload`, a `Download` into an upload, or a file into a message's body. Content larger than a block goes through two
blocks that are reused: while one of them is written, hashed or sent, the other is filled.

A transfer needs the memory of two blocks, whatever the size of the content.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from p2pannex.errors import ConnectionLost

BLOCK = 2 << 20
"""Bytes of a block. With blocks of half the size, a large upload took a tenth longer, because it changed threads twice
as often."""

SMALL_BODY = 64 * 1024
"""A body of up to this many bytes is appended to the line before it, so that both leave in one write."""

FILE_RANGE = 1 << 20
"""How many bytes of a file the kernel sends at a time. While it reads them from the disk, all tasks wait."""

PARTIAL_BLOCK_DELAY = 0.05
"""Seconds after which a block is passed on although it is not full, so that a slow source does not delay the target."""

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
    """Read until `view` is full, or until it has some bytes and PARTIAL_BLOCK_DELAY has passed.

    Returns the number of bytes, and the error if the source failed. Bytes that arrived before the error are moved too:
    the target may keep them, to resume from.
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
    """Move exactly `length` bytes from `readinto` to `send_all`. ConnectionLost if the source ends earlier.

    Errors of both functions are raised unchanged. If `readinto` fails, all bytes that it returned before have been
    moved. If `send_all` fails, up to two blocks more may have been read than were sent.
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
