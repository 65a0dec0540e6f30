"""The sum of all waits in vain is at most one timeout, and no node's reserve is used up by other nodes."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from p2pannex.cluster.stall_budget import FOR_THE_END, FOR_THE_NODES, StallBudget

NEAR = 1e-9


@attrs.frozen
class Timed:
    timeout: float


@given(
    timeouts=st.lists(st.floats(0.01, 1000), min_size=1, max_size=8),
    used=st.lists(st.floats(0, 1), min_size=8, max_size=8),
    late=st.lists(st.sampled_from([0.0, 0.0, 1.0, 1e6]), min_size=8, max_size=8),
)
def test_reserves_and_sum(timeouts: list[float], used: list[float], late: list[float]) -> None:
    """Whatever part of its time each node uses in vain, and however late we notice."""
    budget = StallBudget(len(timeouts))
    spent = 0.0
    for node, part, extra in zip(map(Timed, timeouts), used, late, strict=False):
        pause = budget.pause(node)
        assert pause >= node.timeout * FOR_THE_NODES / len(timeouts) - NEAR
        assert budget.rest(node) >= node.timeout * FOR_THE_END - NEAR
        budget.spend(node, pause * part + extra)
        spent += min(pause, pause * part + extra) / node.timeout
        end = budget.rest(node) / node.timeout
        assert end >= FOR_THE_END - NEAR
        assert spent + end <= 1 + NEAR


def test_while_no_node_hangs_a_slow_one_may_take_most_of_its_timeout() -> None:
    budget = StallBudget(3)
    assert budget.pause(Timed(30)) >= 30 * 0.4
    assert budget.rest(Timed(30)) == 30


def test_a_node_without_a_timeout() -> None:
    budget = StallBudget(1)
    budget.spend(Timed(0), 5)
    assert budget.rest(Timed(30)) == 30
