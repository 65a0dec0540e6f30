"""The table of git-annex's settings: complete, and the same in the documentation."""

from __future__ import annotations

import gzip
import re
import subprocess
from pathlib import Path

import pytest

from p2pannex.git_annex.settings import SETTINGS, Treatment, table

DOCUMENTED = set((Path(__file__).parent / "documented_settings.txt").read_text().splitlines())
"""The settings in git-annex's manual page and in that of ``git annex config``, and the hooks named there."""

PAGE = Path(__file__).parent.parent.parent / "docs/reference/git-annex-settings.md"


def test_every_documented_setting_is_in_the_table_and_no_other() -> None:
    assert set(SETTINGS) == DOCUMENTED


def test_the_documentation_has_the_table() -> None:
    text = PAGE.read_text()
    assert text[text.index("| setting |") :] == table(), "run: python tools/settings_table.py"


def test_each_row_says_why() -> None:
    assert {treatment for treatment, _ in SETTINGS.values()} == set(Treatment)
    assert all(len(text) > 5 and "|" not in text for _, text in SETTINGS.values())


def test_the_settings_of_an_installed_manual_page_are_known() -> None:
    found = subprocess.run(["man", "-w", "git-annex"], capture_output=True, text=True)
    if found.returncode:
        pytest.skip("git-annex's manual page is not installed")
    path = Path(found.stdout.strip())
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    text = text[text.index(".SH CONFIGURATION") : text.index(".SH CONFIGURATION VIA .gitattributes")]
    names = {
        name.replace("\\-", "-")
        for line in text.splitlines()
        if line.startswith(".IP")
        for name in re.findall(r"\\fB((?:annex|remote|url)\.[^ ]*?)\\fP", line)
    }
    assert names
    assert names <= set(SETTINGS) | {"remote.name.annexUrl"}
