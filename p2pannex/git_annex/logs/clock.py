"""Times in the logs of the branch: seconds since 1970, or the units of another vector clock.

They may have any number of decimals, and are compared exactly, never as floats. This module imports nothing, because
p2pannex-shell reads logs before it sends AUTH-SUCCESS.
"""

from __future__ import annotations

Clock = tuple[int, str]
"""A time: the whole units, and the decimals without trailing zeros. As text these sort as they do as numbers."""


def parse_clock(word: bytes) -> Clock | None:
    """Parse digits, optionally a point and decimals, optionally an ``s``. None if the word is not such a time."""
    whole, point, decimals = word.removesuffix(b"s").partition(b".")
    if not whole.isdigit() or (point and not decimals.isdigit()) or len(whole) > 640:
        return None
    return int(whole), decimals.rstrip(b"0").decode("ascii")


def clock_at(nanoseconds: int) -> Clock:
    """The time so many nanoseconds after the start of 1970."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return seconds, f"{rest:09d}".rstrip("0")


def format_clock(time: Clock) -> bytes:
    """The time as logs write it, without the ``s``."""
    whole, decimals = time
    return f"{whole}.{decimals}".encode("ascii") if decimals else b"%d" % whole
