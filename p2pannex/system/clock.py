"""The machine's clocks, behind a Protocol, so that tests can set, stop and skew them. All times are in seconds."""

from __future__ import annotations

import secrets
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


def read_boot_id() -> str:
    """The kernel's id of this boot of the machine. If there is none, a random one, which matches no other."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip() or secrets.token_hex(16)
    except OSError:
        return secrets.token_hex(16)
