"""Content that is shared out among the nodes of a group."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pannex.cluster.preferred import Facts, load, wants
from p2pannex.keys.key import Key
from tests.cluster.preferred.expressions import GROUPS


@given(st.integers(0, 10**6), st.integers(1, 3))
def test_a_group_shares_the_keys_out(number: int, copies: int) -> None:
    """Just as many as asked for, and the next repository of the circle when one is full."""
    facts = Facts(Key(f"WORM-s10-m1--{number}"), groups=GROUPS)
    expression = load(f"fullybalanced=g:{copies}")
    chosen = {uuid for uuid in GROUPS if wants(expression, facts, uuid)}
    assert len(chosen) == copies
    full = Facts(facts.key, groups=GROUPS, sizes={"u1": 95}, max_sizes={"u1": 100})
    assert not wants(expression, full, "u1")
    assert len([uuid for uuid in GROUPS if wants(expression, full, uuid)]) == min(copies, 2)
