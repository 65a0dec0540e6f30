"""Clocks for a world whose true time is trio's: skewed, jumping, and standing still in sleep.

True time is ``trio.current_time()``, so that under ``trio.testing.MockClock`` years pass in a moment.
"""

from __future__ import annotations

import trio

START = 10_000_000.0
"""What a clock without skew shows at true time 0, in seconds: far enough from 0 for skews and jumps of a million."""


class SimulatedClock:
    """A `p2pannex.system.clock.Clock`. `skew`, in seconds, is added to true time.

    With `counts_sleep` it goes on while the machine sleeps, as CLOCK_BOOTTIME does; without, it stands still, as the
    monotonic clock of other systems.
    """

    def __init__(self, skew: float = 0.0, *, counts_sleep: bool = True) -> None:
        self.skew = skew
        self.counts_sleep = counts_sleep
        self.awake_at = 0.0
        """The true time at which the machine wakes from the last sleep that began."""
        self._asleep_from = 0.0
        self._slept = 0.0

    def monotonic(self) -> float:
        now = trio.current_time()
        asleep = 0.0 if self.counts_sleep else self._slept + max(0.0, min(now, self.awake_at) - self._asleep_from)
        return START + self.skew + now - asleep

    def wall(self) -> float:
        return START + self.skew + trio.current_time()

    def jump(self, seconds: float) -> None:
        """Show so much more, or less, from now on: a restart, as far as a monotonic clock goes."""
        self.skew += seconds

    def sleep(self, seconds: float) -> None:
        """The machine sleeps from now on for so long, in true seconds. ValueError where it sleeps already."""
        now = trio.current_time()
        if now < self.awake_at:
            raise ValueError("it sleeps already")
        self._slept += max(0.0, self.awake_at - self._asleep_from)
        self._asleep_from, self.awake_at = now, now + seconds

    def true_time(self, shown: float) -> float:
        """The true time at which this clock, awake, shows `shown`, if it neither jumps nor sleeps any more."""
        return trio.current_time() + shown - self.monotonic()
