"""The machine's clocks, behind a Protocol, so that tests can set, stop and skew them. All times are in seconds."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """The source of time for a store or a cluster."""

    def monotonic(self) -> float:
        """Time that never jumps. On Linux it includes the time that the machine was suspended (CLOCK_BOOTTIME)."""
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
