"""Records in the location log which content this repository has: written at once, committed when idle.

Each change is written to the journal before it is reported to the client.

Before a commit, what was logged is compared with the disk once more. git-annex changes content first and logs it later,
and it holds no lock in between. So if git-annex and p2pannex change the same content at the same moment, the line of
git-annex may come last in the log although its change came first. Then the true state is logged again. That is correct
at any time, so it needs no lock either.

Content and log are two files, so one of them can be changed and the other not. Three things keep the log true:

1. Before content is touched, `require_writable` finds out whether the log could be written.
2. If the log still cannot be written after the content was changed, the client gets an error. The change is remembered
   like one that was logged, so that it is logged before the next commit.
3. If the process ends before that, the client's next request finds the content stored or removed already. `settle` then
   compares the log with that, and corrects it before the request is answered.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from p2pannex.git_annex.branch.branch import Branch
from p2pannex.git_annex.branch.idle_commits import IdleCommits
from p2pannex.git_annex.branch.owed import LOG_ROOM, OWED_MAX, check_owed
from p2pannex.keys.key import Key

REMEMBERED = 10_000
"""Keys that are compared with the disk before a commit: those that changed last. To forget one is harmless: its change
is in the journal, and only a change of git-annex at the same moment can have made the log wrong since."""


class AnnexLog:
    """Records which content the repository `uuid` has. `present` returns whether the disk has the content of a key."""

    def __init__(self, branch: Branch, uuid: str, present: Callable[[Key], bool]) -> None:
        self._branch = branch
        self._uuid = uuid
        self._present = present
        self._uncommitted: dict[Key, None] = {}  # in the order of their last changes
        self._owed: dict[Key, object] = {}
        """What could not be logged yet. Each failure has an object of its own."""
        self._idle = IdleCommits(self.commit)
        self._committing = trio.Lock()

    def require_writable(self, key: Key, present: bool) -> None:
        """RemoteError if it could not be logged now that the content is present, or not."""
        check_owed(len(self._owed), OWED_MAX)
        self._branch.require_writable(key, room=LOG_ROOM if present else 0)

    async def changed(self, key: Key, present: bool) -> None:
        """Write to the journal whether the content is present. RemoteError if that fails: it is tried again later."""
        self._uncommitted.pop(key, None)
        self._uncommitted[key] = None
        self._forget_oldest()
        try:
            await self._record(key, present)
            self._owed.pop(key, None)  # log and disk agreed a moment ago, with no other task in between
        except BaseException:
            self._owed[key] = object()
            raise
        finally:
            self._idle.changed()

    def _forget_oldest(self) -> None:
        while len(self._uncommitted) > REMEMBERED:
            del self._uncommitted[next(iter(self._uncommitted))]

    async def settle(self, key: Key, present: bool) -> None:
        """Correct the log if it says otherwise. RemoteError if that fails."""
        if (self._uuid in await self._branch.locations(key)) != present:
            await self.changed(key, present)

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
                keys, self._uncommitted = {**dict.fromkeys(self._owed), **self._uncommitted}, {}
                if not keys:
                    return
                try:
                    for key in keys:
                        # If another task fails to log a change from here on, that is not settled by this comparison.
                        owed = self._owed.get(key)
                        present = self._present(key)
                        if (self._uuid in await self._branch.locations(key)) != present:
                            await self._record(key, present)
                        if self._owed.get(key) is owed:
                            self._owed.pop(key, None)
                    await self._branch.commit()
                except BaseException:
                    self._uncommitted = {**keys, **self._uncommitted}
                    self._forget_oldest()
                    raise
