"""The location log of a repository, as far as it is about its own content: written at once, committed when idle.

Each change is in the journal before anybody is told of it. What was logged is checked once more before it is committed,
because git-annex changes the content first and logs it later, with nothing that excludes others in between: where it
and we change the same content at the same moment, its line may come after ours and say what was true before. Saying
anew what is true is right at any time, so nobody has to be excluded for that either.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from p2pannex.git_annex.branch.branch import Branch
from p2pannex.git_annex.branch.idle_commits import IdleCommits
from p2pannex.keys.key import Key

REMEMBERED = 10_000
"""Keys that are checked once more at most, the latest ones."""


class AnnexLog:
    """The log of what the repository `uuid` has. `present` tells, by a look at the disk."""

    def __init__(self, branch: Branch, uuid: str, present: Callable[[Key], bool]) -> None:
        self._branch = branch
        self._uuid = uuid
        self._present = present
        self._uncommitted: dict[Key, None] = {}  # in the order of their last changes
        self._idle = IdleCommits(self.commit)
        self._committing = trio.Lock()

    async def changed(self, key: Key, present: bool) -> None:
        """Log whether the content is here, in the journal. RemoteError when that cannot be done."""
        await self._record(key, present)
        self._uncommitted.pop(key, None)
        self._uncommitted[key] = None
        if len(self._uncommitted) > REMEMBERED:
            del self._uncommitted[next(iter(self._uncommitted))]
        self._idle.changed()

    async def _record(self, key: Key, present: bool) -> None:
        """Looked at afterwards: who stored and removed it at the same time may have logged in another order."""
        while True:
            await self._branch.log_location(key, self._uuid, present)
            now = self._present(key)
            if now == present:
                return
            present = now

    async def commit_when_idle(self) -> None:
        """Commit whenever nothing has changed for some time, until cancelled."""
        await self._idle.run()

    async def commit(self) -> None:
        """Commit what was changed since the last time, if anything. Cancellation waits for the end."""
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
