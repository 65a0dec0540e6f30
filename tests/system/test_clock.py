"""The machine's clocks."""

from __future__ import annotations

import time

import pytest

from p2pannex.system.clock import SystemClock


def test_the_time_that_never_jumps_includes_suspended_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock's ten minutes pass while the machine is suspended, as they do for its client."""
    asked: list[int] = []

    def clock_gettime(clock: int) -> float:
        asked.append(clock)
        return 5.0

    monkeypatch.setattr(time, "clock_gettime", clock_gettime)
    assert SystemClock().monotonic() == 5.0
    assert asked == [time.CLOCK_BOOTTIME]
