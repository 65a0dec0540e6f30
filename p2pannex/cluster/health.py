"""Whether a node gets requests: a record of its failures, with a back-off that grows.

- A node that replies is *healthy*.
- After one failure that took no time, for example a lost connection, the node is *unhealthy*: other nodes get requests
  before it, and uploads leave it out.
- After two such failures in a row, or one failure that took time (a timeout), the node is *suspended*: it gets no
  requests at all as long as other nodes can get them, so it delays no request.

Both states last for a back-off. After it, the cluster sends the node a request of its own, a *probe*, which no client
waits for. If the node replies, it is healthy again; if not, the next back-off is twice as long.

A node may reply to a probe and hang at each upload. So the length of the back-off is forgotten only when the node has
been healthy for `QUIET` seconds.

A `Memory` outlives the process and is shared with other processes. Every change is written to it. It is read when the
node is opened, before each further failure is counted, and when the cluster notices that another process wrote it. It
is neither read nor written while the node is healthy.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import trio
from attrs import frozen

FIRST_BACK_OFF = 1.0
LONGEST_BACK_OFF = 60.0
"""Seconds until the first probe after a failure, and between two probes at most."""

QUIET = 60.0
"""Seconds for which a node must be healthy before its next back-off is the first one again."""

SAME_TIME = 0.001
"""Two times that differ by fewer seconds are the same: a `Memory` may store them by another clock."""


@frozen
class Remembered:
    """What is known about the failures of one node. Times are trio's. `at` is the time of the last change."""

    at: float
    failures: int
    costly: bool
    level: int
    failed_at: float
    back_at: float
    healthy_since: float
    reason: str


class Memory(Protocol):
    """Where the failures of one node are remembered. Its methods do not block for long, and raise no OSError."""

    def read(self) -> Remembered | None:
        """What was written last, by this process or another one. None if there is nothing that can be used."""
        ...

    def write(self, found: Remembered) -> None:
        """Remember this. Without effect if it cannot be written."""
        ...

    def claim(self) -> AbstractContextManager[bool]:
        """Whether this process may send the probe, during the block. False if another one is sending it."""
        ...


class Health:
    """The health of one node. Its times are trio's."""

    def __init__(self) -> None:
        self.failures = 0
        """How many times in a row the node did not reply."""
        self.back_at = -float("inf")
        """When the back-off ends."""
        self.failed_at = -float("inf")
        """When it failed last."""
        self.on_failure: Callable[[], bool] | None = None
        """Called after each failure. True if a probe will decide whether the node is healthy again. If it is False, or
        None, the node is healthy as soon as the back-off has passed."""
        self.memory: Memory | None = None
        """Where failures are remembered beyond the end of this process; None for nowhere."""
        self._awaits_probe = False
        self._costly = False
        self._level = 0
        self._healthy_since = -float("inf")
        self._changed_at = -float("inf")
        self._reason = ""

    @property
    def healthy(self) -> bool:
        return not self.failures or not (self._awaits_probe or trio.current_time() < self.back_at)

    @property
    def suspended(self) -> bool:
        return self.failures > 0 and (self._costly or self.failures > 1) and not self.healthy

    @property
    def summary(self) -> str:
        """Why a suspended node gets no request."""
        ago = trio.current_time() - self.failed_at
        return f"no request was sent, because it failed {ago:.0f} s ago ({self._reason})"

    def answered(self) -> None:
        """Record a reply. It ends no suspension: a node may reply to one kind of request and hang at another."""
        if self.failures and not self.suspended:
            self._level = 0
            self.recovered()

    def recovered(self) -> None:
        """Record that a probe got a reply."""
        self.failures = 0
        self.back_at = -float("inf")
        self._awaits_probe = self._costly = False
        self._healthy_since = trio.current_time()
        self._remember()

    def failed(self, reason: str, *, costly: bool) -> None:
        """Record a failure. `costly`: a request waited for it."""
        self.refresh()
        now = trio.current_time()
        if self.healthy and now >= max(self._healthy_since, self.back_at) + QUIET:
            self._level = 0
        # Requests that were running at the first failure, and fail later, do not make the back-off longer.
        if now >= self.back_at or not self.suspended:
            self._back_off()
        self.failures += 1
        self._costly = self._costly or costly
        self.failed_at, self._reason = now, reason
        self._remember()
        self.await_probe()

    def postpone(self) -> None:
        """Record that a probe had no reply so far: the next back-off begins. The node may still reply to the probe."""
        if self.failures:
            self._back_off()
            self._remember()

    def _back_off(self) -> None:
        # Jitter, so that many gateways do not all return to a node at the moment when it is up again.
        wait = min(LONGEST_BACK_OFF, FIRST_BACK_OFF * 2.0 ** min(self._level, 16))
        self.back_at = trio.current_time() + wait * random.uniform(0.5, 1)  # noqa: S311
        self._level += 1

    def await_probe(self) -> None:
        """If the node is not healthy, start a probe, if there is a cluster that sends one."""
        self._awaits_probe = self.failures > 0 and self.on_failure is not None and self.on_failure()

    def no_probe(self) -> None:
        """Record that no probe will come, because the cluster closed or the node left it."""
        self._awaits_probe = False

    # What other processes know ----------------------------------------------------------------------------------

    def claim(self) -> AbstractContextManager[bool]:
        """As `Memory.claim`."""
        return nullcontext(True) if self.memory is None else self.memory.claim()

    def refresh(self) -> None:
        """Use what the memory has, if it is newer than what is known here."""
        found = None if self.memory is None else self.memory.read()
        if found is None or found.at <= self._changed_at + SAME_TIME:
            return
        self.failures, self._costly, self._level = found.failures, found.costly, found.level
        self.failed_at, self.back_at, self._healthy_since = found.failed_at, found.back_at, found.healthy_since
        self._changed_at, self._reason = found.at, found.reason
        self.await_probe()

    def _remember(self) -> None:
        self._changed_at = trio.current_time()
        if self.memory is not None:
            self.memory.write(
                Remembered(
                    self._changed_at,
                    self.failures,
                    self._costly,
                    self._level,
                    self.failed_at,
                    self.back_at,
                    self._healthy_since,
                    self._reason,
                )
            )
