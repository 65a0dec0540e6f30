"""Values of settings as git and git-annex write them: booleans and sizes."""

from __future__ import annotations

_PREFIXES = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "e": 6, "z": 7, "y": 8}


_DIGITS_MAX = 100
"""A number of more digits is no size, and may be too large for a float."""


_NAMES = {"kilo": 1, "mega": 2, "giga": 3, "tera": 4, "peta": 5, "exa": 6, "zetta": 7, "yotta": 8}


_BINARY_NAMES = {"kibi": 1, "mebi": 2, "gibi": 3, "tebi": 4, "pebi": 5, "exbi": 6, "zebi": 7, "yobi": 8}


def is_true(value: str | None) -> bool:
    """Whether git reads the value of a boolean setting as true."""
    if value is None:
        return False
    digits = value[1:] if value.startswith(("+", "-")) else value
    return value.lower() in ("true", "yes", "on") or (
        digits.isascii() and digits.isdecimal() and digits.strip("0") != ""
    )


def parse_count(text: str | None, default: int) -> int:
    """A whole number from 1 to below 10**9. `default` if it is missing or invalid."""
    text = (text or "").strip()
    return int(text) or default if text.isascii() and text.isdecimal() and len(text) < 10 else default


def parse_size(text: str | None, default: int) -> int:
    """A size in git-annex's syntax, in bytes: ``100 megabytes``, ``1.5 GB``, ``512MiB``. `default` if it is invalid."""
    text = (text or "").strip()
    number = text[: len(text) - len(text.lstrip("0123456789."))]
    try:
        amount = float(number if len(number) < _DIGITS_MAX else "")
    except ValueError:
        return default
    unit = text[len(number) :].strip().lower()
    unit = unit.removesuffix("s") if unit.endswith("bytes") else unit
    unit = unit.removesuffix("byte") if unit.endswith("byte") else unit.removesuffix("b")
    if unit in _BINARY_NAMES:
        return int(amount * 1024 ** _BINARY_NAMES[unit])
    if unit.endswith("i") and unit[:-1] in _PREFIXES and unit != "i":
        return int(amount * 1024 ** _PREFIXES[unit[:-1]])
    if unit in _NAMES:
        return int(amount * 1000 ** _NAMES[unit])
    return int(amount * 1000 ** _PREFIXES[unit]) if unit in _PREFIXES else default
