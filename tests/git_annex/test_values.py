"""Sizes as git-annex writes them in settings."""

from __future__ import annotations

import pytest

from p2pannex.git_annex.values import parse_size


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
    ],
)
def test_sizes(text: str | None, size: int) -> None:
    assert parse_size(text, 7) == size
