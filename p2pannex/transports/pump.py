"""The pump: moves the bytes of content from a source to a target.

`move` calls a function that reads into a block, then one that accepts a block. So it moves a message's body into an
`Upload`, a `Download` into an upload, or a file into a message's body. Content larger than a block goes through two
blocks that are reused: while one of them is written, hashed or sent, the other is filled.

A transfer needs the memory of two blocks, whatever the size of the content. All transfers of the process together have
at most `Blocks.limit` bytes in blocks; while these are taken, further transfers use pieces of SMALL_BODY bytes, which
are slower.

A client that stops in the middle of an upload has no block: `move` waits for the next bytes with a small piece, and
takes a block once more has arrived than fits there. What has arrived of a block is passed on before that wait.
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

MEMORY = 128 << 20
"""Bytes that the blocks of all transfers may have together, unless `blocks.limit` is changed."""

SPARE = 4
"""How many blocks are kept for later transfers."""


class Blocks:
    """The blocks of all transfers of this process. Not for use in several threads."""

    def __init__(self, limit: int = MEMORY) -> None:
        self.limit = limit
        """Bytes of the blocks that are in use at a time."""
        self.used = 0
        self._spare: list[bytearray] = []

    def take(self) -> bytearray | None:
        """A block, or None if all are in use. Each one that is taken is given back, or dropped."""
        if self.used + BLOCK > self.limit:
            return None
        self.used += BLOCK
        return self._spare.pop() if self._spare else bytearray(BLOCK)

    def give_back(self, block: bytearray) -> None:
        """The block is not used any more. Pieces that are not blocks are ignored."""
        if len(block) == BLOCK:
            self.used -= BLOCK
            if len(self._spare) < SPARE:
                self._spare.append(block)

    def drop(self, block: bytearray) -> None:
        """The transfer has failed. A thread may still read the block, so no other transfer gets it."""
        if len(block) == BLOCK:
            self.used -= BLOCK


blocks = Blocks()
"""The blocks of this process."""


class _Filled:
    """The next bytes of a source, and the error if it failed after them. Bytes that arrived before the error are moved
    too: the target may keep them, to resume from."""

    def __init__(self, block: bytearray, most: int) -> None:
        self.block = block
        self.count = 0
        self.failure: Exception | None = None
        self._most = min(most, len(block))

    @property
    def full(self) -> bool:
        return self.count == self._most

    @property
    def view(self) -> memoryview:
        return memoryview(self.block)[: self.count]

    def grow(self, block: bytearray, most: int) -> None:
        """Continue in a larger block."""
        block[: self.count] = self.view
        self.block, self._most = block, min(most, len(block))

    def give_back(self) -> None:
        """Its bytes were moved. It forgets the block: the tasks that know it may wait for a long time."""
        blocks.give_back(self.block)
        self.block = bytearray()

    def drop(self) -> None:
        """Its transfer has failed."""
        blocks.drop(self.block)
        self.block = bytearray()

    async def read(self, readinto: ReadInto) -> None:
        """Read once."""
        count = await readinto(memoryview(self.block)[self.count : self._most])
        if not count:
            raise ConnectionLost("the content ended before its announced length")
        self.count += count


async def _fill(left: int, readinto: ReadInto, *, stalls: bool) -> _Filled:
    """Read until a block is full, or until it has some bytes and PARTIAL_BLOCK_DELAY has passed."""
    block = None if stalls or left <= SMALL_BODY else blocks.take()
    filled = _Filled(bytearray(min(left, SMALL_BODY)) if block is None else block, left)
    try:
        if stalls:
            await filled.read(readinto)
            if filled.count < min(left, BLOCK):
                with trio.move_on_after(PARTIAL_BLOCK_DELAY):
                    await _fill_further(filled, left, readinto)
        else:
            started = trio.current_time()
            while not filled.full:
                await filled.read(readinto)
                if trio.current_time() - started > PARTIAL_BLOCK_DELAY:
                    break
    except Exception as error:
        filled.failure = error
    except BaseException:
        filled.drop()
        raise
    return filled


async def _fill_further(filled: _Filled, left: int, readinto: ReadInto) -> None:
    """Fill the piece, then a block. May be cancelled."""
    while not filled.full:
        await filled.read(readinto)
    if left > SMALL_BODY and (block := blocks.take()) is not None:
        filled.grow(block, left)
        while not filled.full:
            await filled.read(readinto)


async def move(
    length: int, readinto: ReadInto, send_all: SendAll, progress: Progress | None = None, *, stalls: bool = False
) -> None:
    """Move exactly `length` bytes from `readinto` to `send_all`. ConnectionLost if the source ends earlier.

    `stalls`: the source may send nothing for any time. Cancelling a call of `readinto` must then lose no bytes.

    Errors of both functions are raised unchanged. If `readinto` fails, all bytes that it returned before have been
    moved. If `send_all` fails, up to two blocks more may have been read than were sent.
    """
    if length > BLOCK:
        await _move_overlapped(length, readinto, send_all, progress, stalls)
        return
    moved = 0
    while moved < length:
        filled = await _fill(length - moved, readinto, stalls=stalls)
        try:
            if filled.count:
                await send_all(filled.view)
                moved += filled.count
                if progress is not None:
                    progress(filled.count)
        except BaseException:
            filled.drop()
            raise
        filled.give_back()
        if filled.failure is not None:
            raise filled.failure


async def _move_overlapped(
    length: int, readinto: ReadInto, send_all: SendAll, progress: Progress | None, stalls: bool
) -> None:
    turns = trio.Semaphore(2)  # one block is filled while the other is sent
    full_send, full_receive = trio.open_memory_channel[_Filled](2)
    held: list[_Filled] = []
    failure: Exception | None = None

    async def read() -> None:
        with full_send:
            left = length
            while left:
                await turns.acquire()
                filled = await _fill(left, readinto, stalls=stalls)
                held.append(filled)
                full_send.send_nowait(filled)
                if filled.failure is not None:
                    return
                left -= filled.count

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            try:
                async for filled in full_receive:
                    if filled.count:
                        await send_all(filled.view)
                        if progress is not None:
                            progress(filled.count)
                    failure = filled.failure
                    held.remove(filled)
                    filled.give_back()
                    turns.release()
            except Exception as error:
                failure = error
                nursery.cancel_scope.cancel()
    finally:
        for filled in held:
            filled.drop()
    if failure is not None:
        raise failure
