"""Commits when nothing has changed for a while, so that changes that belong together become one commit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from p2pannex.errors import RemoteError

RETRY = 30.0
"""Seconds after which a commit that failed is tried again."""

IDLE = 2.0
"""Seconds without a change after which the journal is committed."""


class IdleCommits:
    """Calls `commit` when there were changes, and then none for `IDLE` seconds. The caller runs `run` as a task."""

    def __init__(self, commit: Callable[[], Awaitable[None]]) -> None:
        self._commit = commit
        self._last_change = 0.0
        self._change = trio.Event()

    def changed(self) -> None:
        """To be called after each change that was written to the journal."""
        self._last_change = trio.current_time()
        self._change.set()

    async def run(self) -> None:
        """Commit when idle, until cancelled."""
        while True:
            await self._change.wait()
            last = None
            while last != self._last_change:
                last = self._last_change
                await trio.sleep_until(last + IDLE)
            self._change = trio.Event()  # only changes during the commit, or after it, need another one
            try:
                await self._commit()
            except (RemoteError, OSError):  # the changes stay in the journal, and the next commit includes them
                with trio.move_on_after(RETRY):
                    await self._change.wait()
                self.changed()
