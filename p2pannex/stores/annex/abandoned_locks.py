"""The file locks of lost clients whose retention records have not expired.

This process holds them until the records expire, or until it ends. They keep git-annex from removing the timestamp that
protects the content (`retention_timestamps.py`): git-annex removes it when it releases the last lock on the content.
"""

from __future__ import annotations

from collections import deque

import trio

from p2pannex.service import RETENTION
from p2pannex.stores.annex.locks import LockFile
from p2pannex.system.clock import Clock

ABANDONED_LOCKS_MAX = 256
"""How many locks are held at most. Each is an open file."""


class AbandonedLocks:
    """The locks, in the order in which they expire."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._locks: deque[tuple[float, LockFile]] = deque()
        self._added = trio.Event()

    def add(self, lock: LockFile) -> None:
        """Hold a lock for the time of a retention record, from now on."""
        self.release_expired()
        self._locks.append((self._clock.monotonic() + RETENTION, lock))
        if len(self._locks) > ABANDONED_LOCKS_MAX:
            self._locks.popleft()[1].close()
        self._added.set()

    def release_expired(self) -> None:
        """Release the locks that have expired."""
        while self._locks and self._locks[0][0] <= self._clock.monotonic():
            self._locks.popleft()[1].close()

    async def release_when_expired(self) -> None:
        """Release each lock when it expires, until cancelled. Without this task, the next lock or removal does it."""
        while True:
            await self._added.wait()
            self._added = trio.Event()
            while self._locks:
                await trio.sleep(max(1.0, self._locks[0][0] - self._clock.monotonic()))
                self.release_expired()

    def close(self) -> None:
        """Release all of them. The retention records stay, and still protect the content from p2pannex."""
        while self._locks:
            self._locks.popleft()[1].close()
