"""Clocks of a simulation."""

from __future__ import annotations

import pytest
import trio

from p2pannex.testing.simulator import SimulatedClock, Simulation, simulate


def test_clocks() -> None:
    async def scenario(_: Simulation) -> None:
        true = SimulatedClock()
        begin = true.monotonic()
        counting, standing = SimulatedClock(-5), SimulatedClock(7, counts_sleep=False)
        for _number in range(2):
            counting.sleep(10)
            standing.sleep(10)
            await trio.sleep(4)
            assert counting.monotonic() - true.monotonic() == -5
            with pytest.raises(ValueError, match="already"):
                standing.sleep(1)
            await trio.sleep(16)
        assert true.monotonic() - begin == 40
        assert counting.monotonic() - true.monotonic() == -5
        assert standing.monotonic() - true.monotonic() == 7 - 20
        assert standing.wall() - true.wall() == 7
        deadline = standing.true_time(standing.monotonic() + 3)
        assert deadline == trio.current_time() + 3
        standing.jump(-1e6)
        assert standing.monotonic() - true.monotonic() == 7 - 20 - 1e6

    simulate(scenario)
