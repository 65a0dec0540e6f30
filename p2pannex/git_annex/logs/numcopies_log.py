"""numcopies.log and mincopies.log: the minimum number of copies of each content, in lines ``TIME NUMBER``."""

from __future__ import annotations

from p2pannex.git_annex.logs.clock import Clock, parse_clock


def parse_numcopies_log(text: bytes) -> int | None:
    """The number in the newest line; None if there is no valid line. Accepts any bytes."""
    newest: tuple[Clock, int] | None = None
    for line in text.split(b"\n"):
        words = line.split()
        if len(words) != 2 or not words[1].isdigit() or len(words[1]) > 18:
            continue
        time = parse_clock(words[0])
        if time is not None and (newest is None or newest[0] < time):
            newest = (time, int(words[1]))
    return None if newest is None else newest[1]
