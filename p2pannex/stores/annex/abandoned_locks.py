"""The file locks of lost clients whose retention records have not expired.

This process holds them until the records expire, or until it ends. They keep git-annex from removing the timestamp that
protects the content (`retention_timestamps.py`): git-annex removes it when it releases the last lock on the content.

One lock is enough for each content: of several, the first is held until the last record expires. None is released
early for another one. Instead, a client gets no lock on content if there is no place for it here: `enter` reserves the
place before the lock is given.
"""

from __future__ import annotations

import math
import resource
import threading

import attrs
import trio

from p2pannex.service import RETENTION, TooManyLocks
from p2pannex.stores.annex.locks import LockFile
from p2pannex.system.clock import Clock


def places() -> float:
    """How many contents may be locked at a time, by the clients of this process and by those that were lost.

    Each lock is an open file, so this is a quarter of the files that the process may open now. The limit of the store
    itself is that of its retention records (`LockLimits`).
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if soft == resource.RLIM_INFINITY else soft // 4


@attrs.define
class _Place:
    """The locks on one content: how many clients have one, and the lock of lost clients, if any."""

    clients: int = 0
    lock: LockFile | None = None
    expires: float = 0.0


class AbandonedLocks:
    """The locks, by the path of the content. Any thread may call the methods."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._places: dict[bytes, _Place] = {}
        self._lost: dict[bytes, None] = {}
        """The contents that a lock of lost clients is held on, in the order in which these locks expire."""
        self._guard = threading.Lock()
        self._added = trio.Event()

    def enter(self, path: bytes) -> None:
        """Reserve a place for the lock of a client. TooManyLocks if there is none. `leave` or `add` must follow."""
        self.release_expired()
        with self._guard:
            place = self._places.get(path)
            if place is None:
                if len(self._places) >= places():
                    raise TooManyLocks(
                        f"{len(self._places)} contents are locked already, by clients or for clients that were lost, "
                        f"which is a quarter of the files that the process may open; try again in {RETENTION:g} "
                        "seconds, or raise the limit of open files (ulimit -n)"
                    )
                place = self._places[path] = _Place()
            place.clients += 1

    def leave(self, path: bytes) -> None:
        """A client has no lock any more."""
        with self._guard:
            self._places[path].clients -= 1
            self._remove_if_empty(path)

    def add(self, path: bytes, lock: LockFile) -> None:
        """Hold the lock of a client that was lost for the time of a retention record, from now on."""
        with self._guard:
            place = self._places[path]
            place.clients -= 1
            place.expires = self._clock.monotonic() + RETENTION
            self._lost.pop(path, None)
            self._lost[path] = None
            if place.lock is None:
                place.lock = lock
            else:
                lock.close()
        self._added.set()

    def _remove_if_empty(self, path: bytes) -> None:
        place = self._places[path]
        if not place.clients and place.lock is None:
            del self._places[path]

    def release_expired(self) -> None:
        """Release the locks that have expired."""
        self._release(self._clock.monotonic())

    def _release(self, until: float) -> None:
        """Release the locks that expire at `until` or earlier."""
        with self._guard:
            while (expires := self._first_end()) is not None and expires <= until:
                path = next(iter(self._lost))
                del self._lost[path]
                place = self._places[path]
                assert place.lock is not None
                place.lock.close()
                place.lock = None
                self._remove_if_empty(path)

    def _first_end(self) -> float | None:
        """When the first lock expires; None if there is none. The caller holds the guard."""
        return next((self._places[path].expires for path in self._lost), None)

    def _next(self) -> float | None:
        with self._guard:
            return self._first_end()

    async def release_when_expired(self) -> None:
        """Release each lock when it expires, until cancelled. Without this task, the next lock or removal does it."""
        while True:
            await self._added.wait()
            self._added = trio.Event()
            while (expires := self._next()) is not None:
                await trio.sleep(max(1.0, expires - self._clock.monotonic()))
                self.release_expired()

    def close(self) -> None:
        """Release all of them. The retention records stay, and still protect the content from p2pannex."""
        self._release(math.inf)
