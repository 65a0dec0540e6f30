"""Preferred content expressions: what can be judged, and what is refused."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pannex.cluster.preferred import Facts, InvalidExpression, load, wants
from p2pannex.cluster.preferred.needs import needs_holders
from p2pannex.cluster.preferred.parser import DEPTH, EXPRESSION_MAX
from p2pannex.cluster.preferred.terms import Constant
from tests.cluster.preferred.expressions import GROUPS, KEY


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
        ("not (" * 1000 + "anything" + ")" * 1000, "too deeply"),
        ("present " * 20_000, "shorten 'present present"),
        ("include=" + "*?" * 9000, "fewer globs"),
        ("include=*[a-c]x*y " * 3000, "fewer globs"),
        ("nonsense" * 1000, "nons[.]{3} is not a term"),
    ],
)
def test_what_cannot_be_judged_is_named(text: str, named: str) -> None:
    with pytest.raises(InvalidExpression, match=named):
        load(text, groups={"g"}, group_wanted={"g": "groupwanted"})


WORDS = ["not", "and", "or", "(", ")", "anything", "copies=1", "present", "include=*", "balanced=g", "nonsense"]


@given(st.lists(st.sampled_from(WORDS)))
def test_any_text_is_judged_or_refused(words: list[str]) -> None:
    try:
        expression = load(" ".join(words))
    except InvalidExpression:
        return
    assert "nonsense" not in words
    assert wants(expression, Facts(KEY, "f", groups=GROUPS), "u1") in (True, False)


@pytest.mark.parametrize("operator", ["and", "or", "", "and not", "or not not"])
def test_expressions_of_many_terms_are_evaluated(operator: str) -> None:
    text = f" {operator} ".join(["anything"] * 1500)
    assert wants(load(text), Facts(KEY, "f"), "u1") is (operator != "and not")
    text = " or anything and ".join(["nothing"] * 1500)
    assert not wants(load(text), Facts(KEY, "f"), "u1")
    assert wants(load("not " * 1501 + "nothing"), Facts(KEY), "u1")


def test_nested_parentheses_are_evaluated() -> None:
    text = "not (nothing or " * DEPTH + "anything" + ")" * DEPTH
    assert wants(load(text), Facts(KEY), "u1") is (DEPTH % 2 == 0)


def test_the_parentheses_of_a_groups_expression_count() -> None:
    inner = "(" * (DEPTH // 2) + "anything" + ")" * (DEPTH // 2)
    outer = "groupwanted and " + "(" * (DEPTH // 2 - 1) + "groupwanted" + ")" * (DEPTH // 2 - 1)
    assert wants(load(outer, groups={"g"}, group_wanted={"g": inner}), Facts(KEY), "u1")
    with pytest.raises(InvalidExpression, match="too deeply"):
        load(f"({outer}) or (({outer}))", groups={"g"}, group_wanted={"g": inner})


@pytest.mark.parametrize(
    "text",
    [
        "groupwanted or " * 4000 + "nothing",
        "not groupwanted and " * 3000 + "nothing",
        " or ".join(f"inallgroup=g{number}" for number in range(2800)),
        " or ".join(f"balanced=g{number % 7}:{10**17 + number}" for number in range(1900)),
        " or ".join(f"copies=g{number % 7}:{10**17 + number}" for number in range(2000)),
        " or ".join(f"fullysizebalanced=g:{10**17 + number}" for number in range(1500)),
        "or ".join(["include=*[a-c]x*"] * 2000),
    ],
)
def test_the_time_is_short_for_any_expression(text: str) -> None:
    """With thousands of repositories, as a user may write them into the branch."""
    assert len(text) <= EXPRESSION_MAX
    groups = {f"u{number}": frozenset({"g", f"g{number % 4000}"}) for number in range(10_000)}
    sizes = dict.fromkeys(groups, 1)
    facts = Facts(KEY, "a" * 4096, frozenset(groups), groups, sizes=sizes, max_sizes=dict.fromkeys(groups, 1000))
    group_wanted = {"g": " and ".join(["not include=b* or copies=9"] * 2000)}
    began = time.process_time()
    expression = load(text, groups={"g"}, group_wanted=group_wanted)
    needs_holders(expression)
    assert wants(expression, facts, "u1") in (True, False)
    assert time.process_time() - began < 2


TERMS = st.recursive(
    st.sampled_from(["anything", "nothing", "present", "copies=1", "include=a*", "balanced=g:2", "inallgroup=g"]),
    lambda inner: st.one_of(
        inner.map(lambda term: f"not {term}"),
        st.lists(st.tuples(st.sampled_from(["and", "or"]), inner), min_size=1, max_size=4).map(
            lambda others: "( anything " + " ".join(f"{operator} {term}" for operator, term in others) + " )"
        ),
    ),
)


@given(TERMS)
def test_and_and_or_group_from_the_left(text: str) -> None:
    """The result is that of Python's own operators, with parentheses around each pair."""
    facts = Facts(KEY, "abc", frozenset({"u1"}), GROUPS)
    expression = load(text)
    if expression == Constant(False):
        return  # not stable, or false in any case
    words = iter(text.split())
    assert wants(expression, facts, "u1") is _evaluated(words, facts)


def _evaluated(words: Iterator[str], facts: Facts) -> bool:
    word = next(words)
    if word == "not":
        return not _evaluated(words, facts)
    if word != "(":
        return wants(load(word), facts, "u1")
    result = _evaluated(words, facts)
    while (operator := next(words)) != ")":
        other = _evaluated(words, facts)
        result = (result and other) if operator == "and" else (result or other)
    return result
