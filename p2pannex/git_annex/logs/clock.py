"""Times as the logs of the branch have them: seconds since 1970, or whatever else a vector clock counts.

They may have any number of decimals, and are compared exactly, never as floats. It loads nothing, as p2pannex-shell
reads logs before it answers.
"""

from __future__ import annotations

Clock = tuple[int, str]
"""A time: whole units, and the decimals without zeros at the end, which compare as text as they do as numbers."""


def parse_clock(word: bytes) -> Clock | None:
    """A time as logs have it: digits, perhaps a point and decimals, perhaps an ``s``. None when it is another word."""
    whole, point, decimals = word.removesuffix(b"s").partition(b".")
    if not whole.isdigit() or (point and not decimals.isdigit()) or len(whole) > 640:
        return None
    return int(whole), decimals.rstrip(b"0").decode("ascii")


def clock_at(nanoseconds: int) -> Clock:
    """The time that many nanoseconds after 1970."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return seconds, f"{rest:09d}".rstrip("0")


def format_clock(time: Clock) -> bytes:
    """The time as it is written, without the ``s``."""
    whole, decimals = time
    return f"{whole}.{decimals}".encode("ascii") if decimals else b"%d" % whole
