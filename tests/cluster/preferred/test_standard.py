"""The expressions of the standard groups."""

from __future__ import annotations

import pytest

from p2pannex.cluster.preferred import InvalidExpression, load
from p2pannex.cluster.preferred.standard import STANDARD


@pytest.mark.parametrize("group", sorted(set(STANDARD) - {"public"}))
def test_the_standard_groups_can_be_judged(group: str) -> None:
    assert load("standard", groups={group}) == load(STANDARD[group])


def test_the_standard_group_public_cannot() -> None:
    with pytest.raises(InvalidExpression, match="inpreferreddir"):
        load("standard", groups={"public"})
