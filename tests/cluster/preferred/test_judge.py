"""Preferred content without git-annex: what is refused, and the choices that every gateway must make alike."""

from __future__ import annotations

from p2pannex.cluster.preferred import Facts, load, wants, wants_to_keep
from tests.cluster.preferred.expressions import KEY


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
