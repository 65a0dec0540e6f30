"""Sizes and measures as people read them."""

from __future__ import annotations

import pytest

from p2pannex.cli.quickstart.view import size, speed
from p2pannex.terminal import shortened


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (50_000_000, "50.0 MB"), (3 * 10**12, "3.0 TB")]
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_measures() -> None:
    assert speed(2000, 0.0034) == "3.4 ms"
    assert speed(50_000_000, 0.25) == "250 ms, 200 MB/s"
    assert speed(0, 0.0) == "0.0 ms"
    assert shortened("abcdefghij", 6) == "abc…ij"
    assert shortened("abc", 6) == "abc"
