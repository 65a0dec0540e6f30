"""What has to be known to judge an expression."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from p2pannex.cluster.node import Node
from p2pannex.cluster.preferred import load
from p2pannex.cluster.preferred.needs import needs_holders
from p2pannex.cluster.wanted import Preference, PreferredContent
from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.testing.samples import store
from p2pannex.testing.simulator import Simulation, simulate


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("anything", False),
        ("include=a and (largerthan=1 or not smallerthan=2) and exclude=b and inbackend=X and securehash", False),
        ("fullybalanced=g:2", False),
        ("balanced=g", True),
        ("fullybalanced=g:lackingcopies", True),
        ("include=a or not (copies=1 and nothing)", True),
        ("present", True),
        ("inallgroup=g", True),
        ("not onlyingroup=g", True),
        ("approxlackingcopies=1", True),
        ("standard", True),
    ],
)
def test_nodes_are_asked_only_where_an_expression_depends_on_it(text: str, needed: bool) -> None:
    assert needs_holders(load(text)) is needed

    async def scenario(world: Simulation) -> None:
        a = world.node("a")
        preferred = PreferredContent.load({"a": Preference(a.uuid, text, frozenset())})

        async def wanted(key: Key, file: bytes | None, nodes: Iterable[Node]) -> list[Node]:
            return await preferred.choose(key, b"a", list(nodes), cluster.presence)

        async with world.cluster(wanted=wanted) as cluster:
            try:
                await store(cluster, b"content")
            except RemoteError:
                pass  # it did not want it: it was asked whether it has it
            else:
                assert a.asked.get("check_present", 0) == needed

    simulate(scenario)
