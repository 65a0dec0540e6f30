"""Times in logs, which compare exactly."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given

from p2pannex.git_annex.logs.clock import format_clock, parse_clock
from tests.git_annex.logs.examples import clocks


@given(clocks, clocks)
@example("1.1234567s", "1.1234568s")
def test_times_compare_exactly(one: str, other: str) -> None:
    first, second = parse_clock(one.encode()), parse_clock(other.encode())
    assert first is not None
    assert second is not None
    assert (first < second) == (Fraction(one.rstrip("s")) < Fraction(other.rstrip("s")))
    assert parse_clock(format_clock(first)) == first


@pytest.mark.parametrize("word", [b"", b"s", b".", b".5s", b"5.s", b"-1s", b"1e3s", b"1 s", b"1.2.3s", b"9" * 700])
def test_what_is_no_time(word: bytes) -> None:
    assert parse_clock(word) is None
