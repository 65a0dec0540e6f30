"""Limits of what is remembered because it could not be written to a location log."""

from __future__ import annotations

from p2pannex.errors import RemoteError

OWED_MAX = 10_000
"""Changes that could not be written to the journal yet. While there are so many, requests that change content are
refused: none that was made is forgotten."""

LOG_ROOM = 64 * 1024
"""Bytes that must be free for the log before content is stored."""


def check_owed(count: int, most: int) -> None:
    """RemoteError if `count` changes are remembered, and `most` may be."""
    if count >= most:
        raise RemoteError(
            f"{most} changes could not be written to the location log yet; check the disk and git; try again"
        )
