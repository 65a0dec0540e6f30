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
"""

from __future__ import annotations

import random
from collections.abc import Callable

import trio

FIRST_BACK_OFF = 1.0
LONGEST_BACK_OFF = 60.0
"""Seconds until the first probe after a failure, and between two probes at most."""

QUIET = 60.0
"""Seconds for which a node must be healthy before its next back-off is the first one again."""


class Health:
    """The health of one node. Its times are trio's."""

    def __init__(self) -> None:
        self.failures = 0
        """How many times in a row the node did not reply."""
        self.back_at = -float("inf")
        """When the back-off ends."""
        self.on_failure: Callable[[], bool] | None = None
        """Called after each failure. True if a probe will decide whether the node is healthy again. If it is False, or
        None, the node is healthy as soon as the back-off has passed."""
        self._awaits_probe = False
        self._costly = False
        self._level = 0
        self._healthy_since = -float("inf")
        self._failed_at = 0.0
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
        ago = trio.current_time() - self._failed_at
        return f"no request was sent, because it failed {ago:.0f} s ago: {self._reason}"

    def answered(self) -> None:
        """Record a reply. It ends no suspension: a node may reply to one kind of request and hang at another."""
        if self.failures and not self.suspended:
            self.recovered()
            self._level = 0

    def recovered(self) -> None:
        """Record that a probe got a reply."""
        self.failures = 0
        self.back_at = -float("inf")
        self._awaits_probe = self._costly = False
        self._healthy_since = trio.current_time()

    def failed(self, reason: str, *, costly: bool) -> None:
        """Record a failure. `costly`: a request waited for it."""
        now = trio.current_time()
        if self.healthy and now >= max(self._healthy_since, self.back_at) + QUIET:
            self._level = 0
        # Requests that were running at the first failure, and fail later, do not make the back-off longer.
        if now >= self.back_at or not self.suspended:
            # Jitter, so that many gateways do not all return to a node at the moment when it is up again.
            wait = min(LONGEST_BACK_OFF, FIRST_BACK_OFF * 2.0 ** min(self._level, 16))
            self.back_at = now + wait * random.uniform(0.5, 1)  # noqa: S311
            self._level += 1
        self.failures += 1
        self._costly = self._costly or costly
        self._failed_at, self._reason = now, reason
        self._awaits_probe = self.on_failure is not None and self.on_failure()

    def no_probe(self) -> None:
        """Record that no probe will come, because the cluster closed or the node left it."""
        self._awaits_probe = False
