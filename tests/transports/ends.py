"""Sources that give pieces of any size, and may fail."""

from __future__ import annotations

import itertools

import trio
import trio.testing

from p2pannex.testing.samples import sample
from p2pannex.transports.pump import BLOCK, SMALL_BODY

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
