"""Simulated clocks: they can be skewed, jump, and stop while their machine sleeps.

True time is ``trio.current_time()``, so that under ``trio.testing.MockClock`` years pass in a moment.
"""

from __future__ import annotations

import trio

START = 10_000_000.0
"""What a clock without skew shows at true time 0, in seconds: far enough from 0 for skews and jumps of a million
seconds."""


class SimulatedClock:
    """A `p2pannex.system.clock.Clock`. `skew`, in seconds, is added to true time.

    With `counts_sleep` the monotonic clock runs on while the machine sleeps, as CLOCK_BOOTTIME does. Without it, the
    clock stops, as the monotonic clocks of other systems do.
    """

    def __init__(self, skew: float = 0.0, *, counts_sleep: bool = True) -> None:
        self.skew = skew
        self.counts_sleep = counts_sleep
        self.awake_at = 0.0
        """The true time at which the last sleep ends."""
        self._asleep_from = 0.0
        self._slept = 0.0

    def monotonic(self) -> float:
        now = trio.current_time()
        asleep = 0.0 if self.counts_sleep else self._slept + max(0.0, min(now, self.awake_at) - self._asleep_from)
        return START + self.skew + now - asleep

    def wall(self) -> float:
        return START + self.skew + trio.current_time()

    def jump(self, seconds: float) -> None:
        """Add `seconds`, which may be negative, from now on. For a monotonic clock this is the effect of a restart."""
        self.skew += seconds

    def sleep(self, seconds: float) -> None:
        """Let the machine sleep from now on, for `seconds` of true time. ValueError if it sleeps already."""
        now = trio.current_time()
        if now < self.awake_at:
            raise ValueError("the machine sleeps already")
        self._slept += max(0.0, self.awake_at - self._asleep_from)
        self._asleep_from, self.awake_at = now, now + seconds

    def true_time(self, shown: float) -> float:
        """The true time at which this clock will show `shown`, if its machine is awake, and the clock does not jump."""
        return trio.current_time() + shown - self.monotonic()
