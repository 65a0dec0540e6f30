"""Preferred content without git-annex: what is refused, and the choices that every gateway must make alike."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pannex.cluster.preferred import Facts, InvalidExpression, load, wants, wants_to_keep
from p2pannex.cluster.preferred.standard import STANDARD
from p2pannex.keys.key import Key

KEY = Key("SHA256E-s100--" + hashlib.sha256(b"x").hexdigest())
GROUPS = {uuid: frozenset({"g"}) for uuid in ("u1", "u2", "u3")}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("anything and metadata=tag=x", "metadata=tag=x"),
        ("not unused", "unused"),
        ("inpreferreddir", "inpreferreddir"),
        ("url=*", r"url="),
        ("mimetype=text/*", "mimetype"),
        ("anything or in=here", "in=here"),
        ("ANYTHING", "ANYTHING"),
        ("include", "include"),
        ("include=[a", "without its ]"),
        ("include=[[:vowel:]]", "vowel"),
        ("include=[z-a]", "z-a"),
        ("copies=g:x", "copies=g:x"),
        ("copies=a:b:1", "copies=a:b:1"),
        ("copies=-1", "copies=-1"),
        ("balanced=g:x", "balanced=g:x"),
        ("balanced=:1", "no group"),
        ("largerthan=10xx", "largerthan=10xx"),
        ("largerthan=1e3", "largerthan=1e3"),
        ("(anything", "without its \\)"),
        ("anything)", "without its \\("),
        ("anything and", "its end"),
        ("or anything", "or"),
        ("()", "missing"),
        ("not", "missing"),
        ("groupwanted", "groupwanted of g: groupwanted"),
        ("(" * 1000 + "anything" + ")" * 1000, "too deeply"),
    ],
)
def test_what_cannot_be_judged_is_named(text: str, named: str) -> None:
    with pytest.raises(InvalidExpression, match=named):
        load(text, groups={"g"}, group_wanted={"g": "groupwanted"})


@pytest.mark.parametrize("group", sorted(set(STANDARD) - {"public"}))
def test_the_standard_groups_can_be_judged(group: str) -> None:
    assert load("standard", groups={group}) == load(STANDARD[group])


def test_the_standard_group_public_cannot() -> None:
    with pytest.raises(InvalidExpression, match="inpreferreddir"):
        load("standard", groups={"public"})


def test_an_empty_expression_wants_everything() -> None:
    assert wants(load(" "), Facts(KEY), "u1")


def test_without_a_file_nothing_is_included_and_all_is_excluded() -> None:
    """As the gateway of git-annex 10.20261026 judges a PUT that names no file."""
    assert not wants(load("include=*"), Facts(KEY), "u1")
    assert wants(load("exclude=*"), Facts(KEY), "u1")


def test_keeping_is_judged_without_the_own_copy() -> None:
    facts = Facts(KEY, holders=frozenset({"u1", "u2"}))
    assert wants(load("copies=2"), facts, "u1")
    assert not wants_to_keep(load("copies=2"), facts, "u1")
    assert wants_to_keep(load("present"), facts, "u1")


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


WORDS = ["not", "and", "or", "(", ")", "anything", "copies=1", "present", "include=*", "balanced=g", "nonsense"]


@given(st.lists(st.sampled_from(WORDS)))
def test_any_text_is_judged_or_refused(words: list[str]) -> None:
    try:
        expression = load(" ".join(words))
    except InvalidExpression:
        return
    assert "nonsense" not in words
    assert wants(expression, Facts(KEY, "f", groups=GROUPS), "u1") in (True, False)
