"""A bounded queue of blocks to be sent to one node, which may be slower than the source of the blocks."""

from __future__ import annotations

import trio

QUEUE = 8 << 20
"""Bytes that may wait for one node."""

PIECES = 256
"""Blocks that may wait for one node, however small they are."""


class BlockQueue:
    """The blocks that wait for one node. The source calls `end` after the last block; `drop` discards all blocks when
    the node is left out."""

    def __init__(self, size: int) -> None:
        self._size = size
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
        return full and bool(self._blocks) and not self.dropped

    async def put(self, block: memoryview) -> None:
        while self.full(block):
            await self._changed.wait()
        if not self.dropped:
            self._blocks.append(block)
            self._bytes += len(block)
            self._wake()

    async def get(self) -> memoryview | None:
        while not self._blocks:
            if self.ended:
                return None
            await self._changed.wait()
        block = self._blocks.pop(0)
        self._bytes -= len(block)
        self._wake()
        return block

    def end(self) -> None:
        self.ended = True
        self._wake()

    def drop(self) -> None:
        self.dropped = True
        self._blocks.clear()
        self._wake()
