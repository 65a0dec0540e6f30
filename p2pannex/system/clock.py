"""The machine's clocks, behind a Protocol, so that tests can set, stop and skew them."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from, so that tests can skew it. Both in seconds."""

    def monotonic(self) -> float:
        """Time that never jumps, and goes on while the machine sleeps where the system can tell (CLOCK_BOOTTIME)."""
        ...

    def wall(self) -> float:
        """POSIX time."""
        ...


class SystemClock:
    """The machine's clocks."""

    _source = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def monotonic(self) -> float:
        return time.clock_gettime(self._source)

    def wall(self) -> float:
        return time.time()
