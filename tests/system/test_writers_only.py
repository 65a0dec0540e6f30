"""Who can open lock files: those who may write."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pannex.system.writers_only import limit_to_writers, writers_mode


@given(st.integers(0, 0o7777))
def test_those_who_may_not_write_have_no_permission(mode: int) -> None:
    limited = writers_mode(mode)
    assert limited & ~mode == 0
    assert limited & 0o7700 == mode & 0o7700
    for bits, write in ((0o070, 0o020), (0o007, 0o002)):
        assert limited & bits == (mode & bits if mode & write else 0)
    assert writers_mode(limited) == limited


@pytest.mark.parametrize(("mode", "limited"), [(0o755, 0o700), (0o775, 0o770), (0o2775, 0o2770), (0o777, 0o777)])
def test_directories(tmp_path: Path, mode: int, limited: int) -> None:
    tmp_path.chmod(mode)
    limit_to_writers(os.fsencode(tmp_path))
    assert stat.S_IMODE(tmp_path.stat().st_mode) == limited


def test_what_is_missing(tmp_path: Path) -> None:
    limit_to_writers(os.fsencode(tmp_path / "no"))
