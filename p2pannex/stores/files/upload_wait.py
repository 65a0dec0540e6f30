"""Waiting while another client uploads the same content."""

from __future__ import annotations

import trio

from p2pannex.errors import RemoteError

BUSY_TIMEOUT = 10.0
"""Seconds that an upload waits until another upload of the same key has ended."""

LONGEST_PAUSE = 0.2


class UploadWait:
    """The wait of one upload. Its time limit starts now."""

    def __init__(self) -> None:
        self._deadline = trio.current_time() + BUSY_TIMEOUT
        self._pause = 0.01

    def require(self) -> None:
        """RemoteError if the other upload has taken too long."""
        if trio.current_time() > self._deadline:
            raise RemoteError("another upload of this key is in progress; try again when it is done")

    async def pause(self) -> None:
        """Wait before the next attempt."""
        await trio.sleep(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
