"""Transcripts as they are written, and what protocol-spec says of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from p2pannex.testing.transcripts import (
    BadTranscript,
    Values,
    content,
    parse_transcript,
)
from tests.testing.transcripts import TRANSCRIPTS

SPEC = Path(__file__).parents[2] / "protocol-spec"


@pytest.mark.parametrize(
    "text",
    [
        "section 1\nversions 0-4\nC: X",
        "# T\nversions 0-4\nC: X",
        "# T\nsection 1\nC: X",
        "# T\nsection 1\nversions 0-4",
        "# T\nsection 1\nversions 0-4\nD: X",
        "# T\nsection 1\nversions 0-4\n[sometimes] C: X",
        "# T\nsection 1\nversions 0-4\nC: X\npresent hello",
        "# T\nsection 1\nversions 0-4\nopening other\nC: X",
    ],
)
def test_what_is_no_transcript_is_refused(text: str) -> None:
    with pytest.raises(BadTranscript):
        parse_transcript("made", text)


def test_placeholders() -> None:
    values = Values(3, "r1")
    assert values.line(r"A\x00\r\t\\\{ {version} {x*3} {number+5}") == b"A\x00\r\t\\{ 3 xxx 1005\n"
    assert values.line("{key:hello}").startswith(b"SHA256E-s5--2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e7304")
    assert values.line("{key:hello}").endswith(b".r1\n")
    assert content("@10[2:5]") == content("@10")[2:5]
    assert len(content("@70000")) == 70000
    assert values.matches("TIMESTAMP {number}", b"TIMESTAMP 42")
    assert values.line("{number+1}") == b"43\n"
    assert not values.matches("TIMESTAMP {number}", b"TIMESTAMP 42 ")
    assert values.matches("ERROR {text}", b"ERROR whatever it was")
    assert not values.matches("AUTH-SUCCESS {uuid}", b"AUTH-SUCCESS who")
    assert values.matches("AUTH-SUCCESS {uuid}", b"AUTH-SUCCESS 11111111-2222-3333-4444-555555555555")
    assert values.line("{uuid}") == b"11111111-2222-3333-4444-555555555555\n"
    with pytest.raises(BadTranscript):
        values.line("{nothing}")


def test_every_section_that_is_cited_exists() -> None:
    headings = "\n".join(file.read_text() for file in SPEC.glob("[0-9]*.md"))
    sections = set(re.findall(r"^#+ ([0-9.]+) ", headings, re.MULTILINE))
    cited = {transcript.section for transcript in TRANSCRIPTS}
    assert cited <= sections, cited - sections
    assert {f"{number}" for number in range(1, 14)} <= sections


def test_every_difference_is_explained() -> None:
    """A transcript that tells two variants names its rows of deviations.md, and each row is shown somewhere."""
    rows = re.findall(r"^\| `([a-z-]+)` \|.*\| ([^|]*) \|$", (SPEC / "deviations.md").read_text(), re.MULTILINE)
    shown = {name: re.findall(r"`([^`]+)`", where) for name, where in rows}
    assert len(rows) == len(shown) > 10
    for transcript in TRANSCRIPTS:
        tells_two = any(len(step.variants) == 1 for step in transcript.steps)
        assert tells_two <= bool(transcript.differs), transcript.name
        for name in transcript.differs:
            assert transcript.name in shown[name], f"{transcript.name} is not in the row of {name}"
    by_name = {transcript.name: transcript for transcript in TRANSCRIPTS}
    for name, places in shown.items():
        assert places, name
        for place in places:
            if place.startswith("tests/"):
                assert (SPEC.parent / place).is_file(), place
            else:
                assert name in by_name[place].differs, f"{place} does not name {name}"
