"""Sizes and booleans as git-annex writes them in settings."""

from __future__ import annotations

import pytest

from p2pannex.git_annex.values import is_true, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (None, 7),
        ("", 7),
        ("much", 7),
        ("10 apples", 7),
        ("100 megabytes", 10**8),
        ("1 gigabyte", 10**9),
        ("1.5GB", 1_500_000_000),
        ("0.5tb", 5 * 10**11),
        ("512MiB", 1 << 29),
        ("1 gibibyte", 1 << 30),
        ("20k", 20_000),
        ("5 bytes", 5),
        ("0", 0),
        ("9" * 400, 7),
        ("9" * 5000 + " EB", 7),
        ("1.2.3", 7),
    ],
)
def test_sizes(text: str | None, size: int) -> None:
    assert parse_size(text, 7) == size


@pytest.mark.parametrize(
    ("text", "true"),
    [
        (None, False),
        ("", False),
        ("yes", True),
        ("ON", True),
        ("no", False),
        ("1", True),
        ("-2", True),
        ("+3", True),
        ("00", False),
        ("-", False),
        ("+-1", False),
        ("\u0661", False),
        ("1" * 5000, True),
    ],
)
def test_booleans(text: str | None, true: bool) -> None:
    assert is_true(text) is true
