"""Preferred content without git-annex: what is refused, and the choices that every gateway must make alike."""

from __future__ import annotations

import pytest

from p2pannex.cluster.preferred import Facts, load, wants, wants_to_keep
from p2pannex.cluster.preferred.judge import FILE_NAME_MAX
from p2pannex.errors import RemoteError
from tests.cluster.preferred.expressions import GROUPS, KEY


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


def test_a_name_that_no_kernel_accepts_is_an_error_where_globs_depend_on_it() -> None:
    facts = Facts(KEY, "a" * (FILE_NAME_MAX + 1))
    assert wants(load("anything or include=a*"), facts, "u1")
    with pytest.raises(RemoteError, match=r"4097 characters.*use a shorter name"):
        wants(load("exclude=b*"), facts, "u1")


@pytest.mark.parametrize("term", ["balanced", "fullybalanced", "sizebalanced", "fullysizebalanced"])
def test_a_number_is_clipped_to_what_it_counts(term: str) -> None:
    facts = Facts(KEY, groups=GROUPS, max_sizes=dict.fromkeys(GROUPS, 1000))
    for uuid in GROUPS:
        assert wants(load(f"{term}=g:999999999999999999"), facts, uuid)
    assert not wants(load("copies=999999999999999999"), facts, "u1")


def test_groups_and_uuids_of_any_bytes() -> None:
    """Logs are decoded with surrogateescape."""
    facts = Facts(KEY, groups={"u\udcff": frozenset({"g\udcfe"})})
    assert wants(load("fullybalanced=g\udcfe"), facts, "u\udcff")
