"""A bounded queue of blocks to be sent to one node, which may be slower than the source of the blocks."""

from __future__ import annotations

from typing import Protocol

import trio

QUEUE = 8 << 20
"""Bytes that may wait for one node."""

PIECES = 256
"""Blocks that may wait for one node, however small they are."""


class Memory(Protocol):
    """The bytes that the buffers of all transfers use together, and may use. `p2pannex.transports.pump.Blocks` is
    one."""

    used: int
    limit: int


class BlockQueue:
    """The blocks that wait for one node. The source calls `end` after the last block; `drop` discards all blocks when
    the node is left out.

    The bytes that wait, and the block that `get` returned last, are added to `memory.used`, until `drop` at the latest:
    the caller must call it at the end. If `memory` has no room, only one block may wait. Then the queue is as if it
    were small, and the upload is as fast as its slowest node. A block that more than one node waits for counts once for
    each.
    """

    def __init__(self, size: int, memory: Memory | None = None) -> None:
        self._size = size
        self._memory = memory
        self._taken = 0
        self._blocks: list[memoryview] = []
        self._bytes = 0
        self._changed = trio.Event()
        self.ended = False
        self.dropped = False

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def full(self, block: memoryview) -> bool:
        """Whether `put` of this block would wait."""
        full = self._bytes + len(block) > self._size or len(self._blocks) >= PIECES
        if self._memory is not None:
            full |= self._memory.used + len(block) > self._memory.limit
        return full and bool(self._blocks) and not self.dropped

    async def put(self, block: memoryview) -> None:
        while self.full(block):
            await self._changed.wait()
        if not self.dropped:
            self._blocks.append(block)
            self._bytes += len(block)
            self._hold(len(block))
            self._wake()

    async def get(self) -> memoryview | None:
        self._hold(-self._taken)
        self._taken = 0
        while not self._blocks:
            if self.ended:
                return None
            await self._changed.wait()
        block = self._blocks.pop(0)
        self._bytes -= len(block)
        self._taken = len(block)
        self._wake()
        return block

    def _hold(self, count: int) -> None:
        if self._memory is not None:
            self._memory.used += count

    def end(self) -> None:
        self.ended = True
        self._wake()

    def drop(self) -> None:
        self.dropped = True
        self._blocks.clear()
        self._hold(-(self._bytes + self._taken))
        self._bytes = self._taken = 0
        self._wake()
