"""A clock that a test sets."""

from __future__ import annotations

from typing import Literal

from attrs import define


@define
class ManualClock:
    """The monotonic clock and the wall clock of one machine. They stand still until the test sets them.

    A test in which one of them must make no difference names it in `never_read`: reading it fails.
    """

    monotonic_now: float = 1000.0
    wall_now: float = 1_700_000_000.0
    never_read: Literal["monotonic", "wall"] | None = None

    def monotonic(self) -> float:
        assert self.never_read != "monotonic", "the monotonic clock was read"
        return self.monotonic_now

    def wall(self) -> float:
        assert self.never_read != "wall", "the wall clock was read"
        return self.wall_now

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.monotonic_now += seconds
        self.wall_now += seconds
