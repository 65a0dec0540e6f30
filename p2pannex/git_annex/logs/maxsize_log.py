"""maxsize.log: how many bytes of content each repository may have in total. 0 means that there is no limit."""

from __future__ import annotations

from p2pannex.git_annex.logs.timed_log import parse_timed_log


def parse_maxsize_log(text: bytes) -> dict[str, int]:
    """The limit of each repository that has one, in bytes. Accepts any bytes."""
    logged = parse_timed_log(text)
    return {
        uuid: int(value)
        for uuid, value in logged.items()
        if value.isascii() and value.isdigit() and len(value) < 30 and int(value)
    }
