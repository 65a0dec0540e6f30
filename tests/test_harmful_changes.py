"""tools/harmful_changes.py: its lists fit the code. The tool itself is run by hand, with `nox -s harmful`."""

from __future__ import annotations

import pytest

from tools.harmful_changes import Change, changes

CHANGES = changes()


@pytest.mark.parametrize("change", CHANGES, ids=[f"{change.file}:{change.rule}" for change in CHANGES])
def test_each_change_can_be_made(change: Change) -> None:
    assert change.problem() is None


def test_no_change_is_listed_twice() -> None:
    made = [(change.file, change.old, change.new) for change in CHANGES]
    assert len(made) == len(set(made))
