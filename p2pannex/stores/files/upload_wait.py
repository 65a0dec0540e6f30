"""Waiting for one's turn, where somebody else uploads the same content just now."""

from __future__ import annotations

import trio

from p2pannex.errors import RemoteError

BUSY_TIMEOUT = 10.0
"""Seconds that a second upload of a key waits for the first to end."""

LONGEST_PAUSE = 0.2


class UploadWait:
    """The wait of one upload, from now on."""

    def __init__(self) -> None:
        self._deadline = trio.current_time() + BUSY_TIMEOUT
        self._pause = 0.01

    def require(self) -> None:
        """RemoteError where the other one has taken too long."""
        if trio.current_time() > self._deadline:
            raise RemoteError("another upload of this key is in progress; try again when it is done")

    async def pause(self) -> None:
        """Before the next look."""
        await trio.sleep(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
