"""Globs: what they match, compared with a matcher that tries everything, and how long the worst of them take."""

from __future__ import annotations

import fnmatch
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pannex.cluster.preferred.glob import Glob, InvalidGlob

PIECES = ["a", "b", "c", ".", "/", "?", "*", "**", "[ab]", "[!a]", "[^b]", "[a-b]", "[]]", "\\", "{", "é", "\n"]
CHARACTERS = ["a", "b", "c", ".", "/", "]", "\\", "{", "é", "\n"]


@given(st.lists(st.sampled_from(PIECES)).map("".join), st.lists(st.sampled_from(CHARACTERS)).map("".join))
def test_a_glob_matches_what_python_s_matches(glob: str, path: str) -> None:
    """fnmatch writes ``!`` where globs may have ``^`` too."""
    expected = re.compile(fnmatch.translate(glob.replace("[^", "[!"))).match(path) is not None
    assert Glob(glob).matches(path) is expected


@given(
    st.lists(st.sampled_from([*PIECES, "[", "]", "-", "[:digit:]", "[[:alpha:]]", "!", "^"])).map("".join), st.text()
)
def test_any_glob_is_matched_or_refused(glob: str, path: str) -> None:
    try:
        matcher = Glob(glob)
    except InvalidGlob:
        return
    assert matcher.matches(path) in (True, False)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("*/photos/*/2024/*.jpg", "x" + "/photos/2024" * 2600),
        ("*a" * 2000 + "b", "a" * 32_000),
        ("*" * 30_000 + "b", "a" * 32_000),
        ("*a" * 2000 + "*b", "a" * 32_000),
        ("*" + "a" * 5000 + "b*", "a" * 32_000),
        ("*?a?" * 500 + "*b", "a" * 4096),
        ("*[ab]?*" * 500 + "b", "a" * 4096),
    ],
)
def test_the_time_is_short_for_any_glob(glob: str, path: str) -> None:
    began = time.process_time()
    assert not Glob(glob).matches(path)
    assert time.process_time() - began < 1


def test_the_cost_counts_what_is_searched_for_character_by_character() -> None:
    assert Glob("*.jpg").cost == Glob("*/a/*/b/*").cost == Glob("??*[ab]").cost == 1
    assert Glob("*a?*[bc]*").cost == 4
