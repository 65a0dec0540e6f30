"""Locks of clients that were lost while content was kept for them.

They are held for as long as this process goes on and the promise does: git-annex would otherwise take the time away
when it lets go of a lock of its own.
"""

from __future__ import annotations

from collections import deque

import trio

from p2pannex.service import RETENTION
from p2pannex.stores.annex.locks import LockFile
from p2pannex.system.clock import Clock

KEPT_LOCKS = 256
"""Locks that are held at most: each is an open file."""


class KeptLocks:
    """The locks, in the order in which their promises end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._locks: deque[tuple[float, LockFile]] = deque()
        self._news = trio.Event()

    def add(self, lock: LockFile) -> None:
        """Hold a lock from now on, until the promise is over."""
        self.let_go()
        self._locks.append((self._clock.monotonic() + RETENTION, lock))
        if len(self._locks) > KEPT_LOCKS:
            self._locks.popleft()[1].close()
        self._news.set()

    def let_go(self) -> None:
        """Let go of those whose promise is over."""
        while self._locks and self._locks[0][0] <= self._clock.monotonic():
            self._locks.popleft()[1].close()

    async def let_go_in_time(self) -> None:
        """Let go of each lock when its promise is over, until cancelled. Otherwise the next promise or removal does."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            while self._locks:
                await trio.sleep(max(1.0, self._locks[0][0] - self._clock.monotonic()))
                self.let_go()

    def close(self) -> None:
        """Let go of all of them. What their clients were promised is on record."""
        while self._locks:
            self._locks.popleft()[1].close()
