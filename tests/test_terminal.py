"""Text from elsewhere cannot command a terminal, hide text, or begin a new line."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import p2pannex
from p2pannex.cluster import Node
from p2pannex.stores.external import messages
from p2pannex.stores.memory import MemoryStore
from p2pannex.terminal import safe, safe_line, safe_lines, shortened

DANGEROUS = {
    "an escape sequence": "\x1b]0;title\x07\x1b[2J",
    "its form of one character": "\x9b31m\x9d0;title\x9c",
    "line breaks": "a\nb\rc\x0bd\x0ce\x85f\u2028g\u2029h",
    "backspaces": "rm\x08\x08",
    "a delete": "\x7f",
    "text from right to left": "\u202eevil\u2066\u2069\u200f\u061c",
    "text of no width": "a\u200b\u200c\u200d\u2060\ufeffb",
    "letters that are shown as nothing": "\u3164\u115f\u1160\uffa0\u034f\u2800",
    "tags": "\U000e0041\U000e0001\U000e0100\ufe0f",
    "half of a pair": "\udc1b\ud83d",
}


@pytest.mark.parametrize("text", DANGEROUS.values(), ids=DANGEROUS)
def test_what_is_replaced(text: str) -> None:
    for shown in (safe(text), safe_line(text)):
        assert not set(shown) & (set(text) - set(" abcdefghijklmnopqrstuvwxyz0123456789;[]RJm"))


@given(st.text())
def test_nothing_else_gets_through(text: str) -> None:
    shown = safe(text)
    assert len(shown) == len(text)
    assert shown.isprintable()
    assert all(unicodedata.category(character)[0] != "C" for character in shown)
    assert safe(shown) == shown
    assert "\n" not in safe_line(text)
    assert safe_lines(text).count("\n") == text.count("\n")
    shown.encode()


@pytest.mark.parametrize("text", ["", "plain text", "Füße, файл, ファイル, ملف, 😀", "a  b"])
def test_what_is_left_as_it_is(text: str) -> None:
    assert safe(text) == text


def test_white_space() -> None:
    assert safe("a\tb\u00a0c") == "a b c"
    assert safe_line(" a\n \tb ") == "a b"
    assert safe_lines("a\tb\nc\x1b") == "a b\nc\ufffd"


def test_text_from_elsewhere_is_made_safe_in_one_way_only() -> None:
    package = Path(p2pannex.__file__).parent
    others = [
        path
        for path in package.rglob("*.py")
        if path.name != "terminal.py" and re.search(r"isprintable\(\) else", path.read_text())
    ]
    assert others == []


@pytest.mark.parametrize("text", ["a\u115fb", "a\ufe0fb", "a\u2066b", "a\x1b[31mb", "a\nb"])
async def test_texts_of_programs_and_servers_are_made_safe(text: str, caplog: pytest.LogCaptureFixture) -> None:
    assert messages.text(f" {text} ".encode()) == safe_line(text)
    Node("a", MemoryStore()).failed(text)
    assert caplog.records[-1].getMessage() == f"node a failed: {safe_line(text)}"


def test_shortened() -> None:
    assert shortened("0123456789", 10) == "0123456789"
    assert shortened("0123456789", 9) == "01234…789"
    assert all(len(shortened("x" * 1000, width)) == width for width in range(3, 100))
