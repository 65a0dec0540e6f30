"""Reads values from a TOML table and checks each one; writes values as TOML that reads back the same.

An invalid value raises ValueError, which names the value and says what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Mapping


def refuse_unknown(table: Mapping[str, object], known: set[str], owner: str) -> None:
    """ValueError for an unknown name: it may be a known name with a typing error."""
    for name in table:
        if name not in known:
            raise ValueError(f"{owner} has an unknown setting: {name}")


def word(table: Mapping[str, object], name: str) -> str:
    """A line of text, which must not be missing or empty."""
    value = table.get(name)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(f"it has no usable {name}")
    return value


def number(table: Mapping[str, object], name: str, default: float) -> float:
    """A number, 0 or more."""
    value = table.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e9:
        raise ValueError(f"the {name} of a node has to be a number")
    return float(value)


def count(table: Mapping[str, object], name: str, default: int, *, least: int = 0) -> int:
    """A whole number, `least` or more."""
    value = table.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} has to be a number, {least} or more")
    return value


def words(table: Mapping[str, object], name: str) -> tuple[str, ...]:
    """A list of words; empty if it is missing."""
    value = table.get(name, [])
    if not isinstance(value, list) or not all(isinstance(each, str) and each and each.isprintable() for each in value):
        raise ValueError(f"{name} has to be a list of words")
    return tuple(value)


def texts(table: Mapping[str, object], name: str) -> dict[str, str]:
    """A table of lines of text; empty if it is missing."""
    value = table.get(name, {})
    if not isinstance(value, dict) or not all(isinstance(each, str) and each.isprintable() for each in value.values()):
        raise ValueError(f"{name} has to be a table of texts")
    return dict(value)


def quoted(value: str | tuple[str, ...]) -> str:
    """A text, or a list of texts, as TOML."""
    return json.dumps(value, ensure_ascii=False)


def lines_of(title: str, values: Mapping[str, str]) -> list[str]:
    """A table of texts as lines of TOML; no lines if it is empty."""
    return (
        ["", f"[{title}]", *(f"{quoted(name)} = {quoted(value)}" for name, value in values.items())] if values else []
    )
