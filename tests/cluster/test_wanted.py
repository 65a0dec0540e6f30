"""What is asked of nodes to decide where content goes."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from p2pannex.cluster.node import Node
from p2pannex.cluster.preferred import InvalidExpression
from p2pannex.cluster.wanted import Preference, PreferredContent
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave
from p2pannex.testing.samples import store
from p2pannex.testing.simulator import Failing, Simulation, simulate


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("sizebalanced=g", "sizebalanced=g cannot be evaluated: no node in the group g has a maximum size"),
        ("anything or not fullysizebalanced=g", "fullysizebalanced=g cannot be evaluated"),
        ("metadata=x=y", "metadata=x=y cannot be evaluated"),
        ("groupwanted", "groupwanted of g: url=x cannot be evaluated"),
        ("anything and (", "missing"),
    ],
)
def test_what_cannot_be_judged_is_an_error_when_it_is_loaded(text: str, term: str) -> None:
    with pytest.raises(InvalidExpression) as caught:
        PreferredContent.load({"attic": Preference("u", text, frozenset(["g"]))}, group_wanted={"g": "url=x"})
    assert str(caught.value).startswith("node attic: ")
    assert term in str(caught.value)


def test_a_node_that_does_not_answer_may_have_the_content_or_not() -> None:
    """b wants a copy if a has none, c wants one if a has one. It is not known which is the case, so both get a copy."""

    async def scenario(world: Simulation) -> None:
        a, b, c = (world.node(name) for name in "abc")
        preferred = PreferredContent.load(
            {
                "a": Preference(a.uuid, "nothing", frozenset(["g"])),
                "b": Preference(b.uuid, "not copies=g:1"),
                "c": Preference(c.uuid, "copies=g:1"),
            }
        )

        async def wanted(key: Key, file: bytes | None, nodes: Iterable[Node]) -> list[Node]:
            return await preferred.choose(key, file, list(nodes), cluster.presence)

        async with world.cluster(wanted=wanted) as cluster:
            key = await store(cluster, b"1")
            assert [await node.check_present(key) for node in (a, b, c)] == [False, True, False]
            a.fail(Failing.DIE)
            key = await store(cluster, b"2")
            assert [await node.store.check_present(key) for node in (a, b, c)] == [False, True, True]

    simulate(scenario)


def test_a_full_node_that_has_the_content_needs_no_room_for_it() -> None:
    """Otherwise the content would go to the other node as well, each time that a client uploads it again."""

    async def scenario(world: Simulation) -> None:
        a, b = (world.node(name) for name in "ab")
        used = {a.uuid: 0, b.uuid: 0}
        preferred = PreferredContent.load(
            {
                name: Preference(node.uuid, "fullybalanced=g", frozenset(["g"]), 10)
                for name, node in (("a", a), ("b", b))
            }
        )

        async def sizes(uuids: Iterable[str]) -> dict[str, int]:
            return used

        async def wanted(key: Key, file: bytes | None, nodes: Iterable[Node]) -> list[Node]:
            return await preferred.choose(key, file, list(nodes), cluster.presence, sizes)

        async with world.cluster(wanted=wanted) as cluster:
            key = await store(cluster, b"content")
            holds_it = [await node.store.check_present(key) for node in (a, b)]
            assert sorted(holds_it) == [False, True]
            used[(a if holds_it[0] else b).uuid] = 10
            assert isinstance(await cluster.put(key), AlreadyHave)
            other = await store(cluster, b"another")
            assert await (b if holds_it[0] else a).store.check_present(other), "the full one has no room for it"

    simulate(scenario)
