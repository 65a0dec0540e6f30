"""Which nodes content goes to. The first table is what git-annex 10.20261026's gateway did with three nodes."""

from __future__ import annotations

import pytest

from p2pannex.gateways.repository.wanted import LOGS, Preferences, Undecidable
from p2pannex.git_annex.logs import names
from p2pannex.testing.samples import key_of

KEY = key_of(b"content")
NODES = {"u1": "n1", "u2": "n2", "u3": "n3"}


def preferences(**logs: str) -> Preferences:
    """From logs: lines without their times, separated by semicolons."""
    texts: dict[bytes, bytes] = dict.fromkeys(LOGS, b"")
    for name, lines in logs.items():
        log = getattr(names, f"{name.upper()}_LOG")
        timed = name in ("group_preferred_content", "maxsize", "numcopies")
        texts[log] = "".join(
            f"1s {line}\n" if timed else f"{line} timestamp=1s\n" for line in lines.split(";")
        ).encode()
    return Preferences.of(texts, NODES)


@pytest.mark.parametrize(
    ("logs", "file", "chosen"),
    [
        ({}, None, "123"),
        ({"preferred_content": "u1 nothing"}, None, "23"),
        ({"preferred_content": "u1 nothing;u2 nothing;u3 nothing"}, None, "123"),
        ({"preferred_content": "u1 nothing", "required_content": "u1 anything"}, None, "123"),
        ({"preferred_content": "u1 nothing;u2 nothing;u3 nothing", "required_content": "u1 anything"}, None, "1"),
        ({"preferred_content": "u1 exclude=*.x"}, None, "123"),
        ({"preferred_content": "u1 not exclude=*.x"}, None, "23"),
        ({"preferred_content": "u1 include=*"}, None, "23"),
        ({"preferred_content": "u1 exclude=*.x"}, b"foo.y", "123"),
        ({"preferred_content": "u1 exclude=*.x"}, b"foo.x", "23"),
        ({"preferred_content": "u1 present"}, None, "23"),
        ({"preferred_content": "u1 standard"}, None, "23"),
        ({"preferred_content": "u1 not copies=g2:1", "group": "u2 g2;u3 g3"}, None, "123"),
        ({"preferred_content": "u1 not inallgroup=g2", "group": "u2 g2;u3 g3"}, None, "123"),
        ({"trust": "u1 X"}, None, "23"),
        ({"trust": "u1 0"}, None, "123"),
        ({"required_content": "u1 nothing"}, None, "123"),
    ],
)
def test_as_git_annex_shares_out(logs: dict[str, str], file: bytes | None, chosen: str) -> None:
    found = preferences(**logs).choose(KEY, file, NODES, [])
    assert found == {f"u{digit}" for digit in chosen}


def test_the_dead_get_content_where_all_are_dead() -> None:
    assert preferences(trust="u1 X;u2 X;u3 X").choose(KEY, None, NODES, []) == set(NODES)


def test_an_expression_that_cannot_be_judged_is_named_and_nothing_is_guessed() -> None:
    found = preferences(preferred_content="u1 include=*.x;u2 anything and metadata=lang=en")
    assert list(found.problems) == ["u2"]
    with pytest.raises(Undecidable, match=r"n2.*metadata"):
        found.choose(KEY, None, NODES, [])
    assert found.choose(KEY, b"a.x", {"u1"}, []) == {"u1"}, "an expression for another node does not count"


def test_required_content_that_cannot_be_judged_counts_too() -> None:
    found = preferences(preferred_content="u1 nothing", required_content="u1 frobnicate=3")
    assert "frobnicate" in found.problems["u1"]


@pytest.mark.parametrize(
    ("logs", "needed"),
    [
        ({"preferred_content": "u1 balanced=g"}, False),
        ({"preferred_content": "u1 balanced=g", "maxsize": "u1 100"}, True),
        ({"preferred_content": "u1 anything or not (nothing fullysizebalanced=g)"}, True),
        ({"preferred_content": "u1 anything", "maxsize": "u1 100"}, False),
    ],
)
def test_whether_sizes_matter(logs: dict[str, str], needed: bool) -> None:
    assert preferences(**logs).needs_sizes == needed
