"""Preferred content expressions: what can be judged, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pannex.cluster.preferred import Facts, InvalidExpression, load, wants
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
