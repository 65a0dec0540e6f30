"""Records in the location log which content this repository has: written at once, committed when idle.

Each change is written to the journal before it is reported to the client.

Before a commit, what was logged is compared with the disk once more. git-annex changes content first and logs it later,
and it holds no lock in between. So if git-annex and p2pannex change the same content at the same moment, the line of
git-annex may come last in the log although its change came first. Then the true state is logged again. That is correct
at any time, so it needs no lock either.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from p2pannex.git_annex.branch.branch import Branch
from p2pannex.git_annex.branch.idle_commits import IdleCommits
from p2pannex.keys.key import Key

REMEMBERED = 10_000
"""The number of keys that are compared before a commit: those that changed last."""


class AnnexLog:
    """Records which content the repository `uuid` has. `present` returns whether the disk has the content of a key."""

    def __init__(self, branch: Branch, uuid: str, present: Callable[[Key], bool]) -> None:
        self._branch = branch
        self._uuid = uuid
        self._present = present
        self._uncommitted: dict[Key, None] = {}  # in the order of their last changes
        self._idle = IdleCommits(self.commit)
        self._committing = trio.Lock()

    async def changed(self, key: Key, present: bool) -> None:
        """Write to the journal whether the content is present. RemoteError if that fails."""
        await self._record(key, present)
        self._uncommitted.pop(key, None)
        self._uncommitted[key] = None
        if len(self._uncommitted) > REMEMBERED:
            del self._uncommitted[next(iter(self._uncommitted))]
        self._idle.changed()

    async def _record(self, key: Key, present: bool) -> None:
        """Log the state, then compare it with the disk, and log again until they agree.

        Tasks that store and remove the same content at the same time may log in another order than they changed it.
        """
        while True:
            await self._branch.log_location(key, self._uuid, present)
            now = self._present(key)
            if now == present:
                return
            present = now

    async def commit_when_idle(self) -> None:
        """Commit whenever nothing has changed for `idle_commits.IDLE` seconds, until cancelled."""
        await self._idle.run()

    async def commit(self) -> None:
        """Commit the changes since the last commit, if any. Cancellation waits for the end."""
        with trio.CancelScope(shield=True):
            async with self._committing:
                keys, self._uncommitted = self._uncommitted, {}
                if not keys:
                    return
                try:
                    for key in keys:
                        present = self._present(key)
                        if (self._uuid in await self._branch.locations(key)) != present:
                            await self._record(key, present)
                    await self._branch.commit()
                except BaseException:
                    self._uncommitted = {**keys, **self._uncommitted}
                    raise
