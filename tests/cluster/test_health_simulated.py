"""The back-off after failures: when a node is unhealthy or suspended, and when it is healthy again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from p2pannex.cluster.health import LONGEST_BACK_OFF, QUIET, Health
from p2pannex.testing.simulator import Simulation, simulate

Scenario = Callable[[Health], Awaitable[None]]


def run(scenario: Scenario, *, probed: bool, seed: int = 0) -> None:
    async def with_health(world: Simulation) -> None:
        health = Health()
        if probed:
            health.on_failure = lambda: True
        await scenario(health)

    simulate(with_health, seed)


@pytest.mark.parametrize("probed", [False, True])
@pytest.mark.parametrize(
    ("costly", "suspended"),
    [([], False), ([False], False), ([True], True), ([False, False], True), ([False, True], True)],
)
def test_what_suspends_a_node(costly: list[bool], suspended: bool, probed: bool) -> None:
    async def scenario(health: Health) -> None:
        for each in costly:
            health.failed("it broke", costly=each)
        assert health.healthy is not bool(costly)
        assert health.suspended is suspended
        health.answered()
        assert health.suspended is suspended, "a reply ends no suspension"
        assert health.healthy is not suspended, "but it ends the state before that"
        await trio.sleep(2.1)
        assert health.healthy is not (suspended and probed), "where there are probes, they end it; elsewhere time does"
        assert health.suspended is (suspended and probed)
        health.recovered()
        assert health.healthy
        assert not health.suspended

    run(scenario, probed=probed)


@pytest.mark.parametrize("seed", range(10))
def test_the_back_off_doubles_up_to_the_longest(seed: int) -> None:
    async def scenario(health: Health) -> None:
        for number in range(12):
            longest = min(2.0**number, LONGEST_BACK_OFF)
            health.failed("it broke", costly=True)
            assert longest / 2 <= health.back_at - trio.current_time() <= longest
            await trio.sleep_until(health.back_at)

    run(scenario, probed=True, seed=seed)


def test_failures_of_requests_that_were_running_do_not_lengthen_it() -> None:
    async def scenario(health: Health) -> None:
        health.failed("it broke", costly=True)
        back_at = health.back_at
        for _ in range(10):
            health.failed("it broke", costly=True)
        assert health.back_at == back_at

    run(scenario, probed=True)


@pytest.mark.parametrize(("healthy_for", "first_again"), [(0.0, False), (QUIET - 1, False), (QUIET, True)])
def test_the_length_of_the_back_off_is_forgotten_after_a_quiet_time(healthy_for: float, first_again: bool) -> None:
    async def scenario(health: Health) -> None:
        for _ in range(6):
            health.failed("it broke", costly=True)
            await trio.sleep_until(health.back_at)
        health.recovered()
        for _ in range(3):
            await trio.sleep(healthy_for / 3)
            health.answered()
        health.failed("it broke", costly=True)
        wait = health.back_at - trio.current_time()
        assert wait <= 1 if first_again else wait >= LONGEST_BACK_OFF / 2

    run(scenario, probed=True)


def test_the_summary_names_the_reason_and_its_age() -> None:
    async def scenario(health: Health) -> None:
        health.failed("connection refused", costly=True)
        await trio.sleep(7)
        assert health.summary == "no request was sent, because it failed 7 s ago (connection refused)"

    run(scenario, probed=True)
