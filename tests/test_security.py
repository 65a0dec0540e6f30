"""The threat model in SECURITY.md: each row names the tests that hold it, and they exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "SECURITY.md").read_text()
MODEL = TEXT[TEXT.index("## Threat model") : TEXT.index("What p2pannex does not protect against")]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in MODEL.splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| party"))
]
NAMED = re.compile(r"`(tests/[^`]*)`")


def test_the_table_has_rows_of_three_cells() -> None:
    assert len(ROWS) >= 14
    assert {len(row) for row in ROWS} == {3}
    names = [row[0] for row in ROWS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_row_names_tests_that_exist(row: list[str]) -> None:
    named = NAMED.findall(row[2])
    assert named, "which test holds this?"
    for each in named:
        file, _, function = each.partition("::")
        path = ROOT / file
        assert path.name.startswith("test_"), each
        assert path.is_file(), each
        assert re.search(rf"^(async )?def {function or 'test_'}", path.read_text(), re.MULTILINE), each
