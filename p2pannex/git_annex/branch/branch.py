"""Reads and changes of the git-annex branch of one repository, for trio."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

import trio

from p2pannex.git_annex.branch.blocking import BlockingBranch, joined, read_journal
from p2pannex.git_annex.branch.cat_file import CatFile
from p2pannex.git_annex.config import AnnexConfig
from p2pannex.git_annex.hooks import CommitSettings
from p2pannex.git_annex.logs.location_log import LocationLog
from p2pannex.git_annex.logs.names import location_log_path
from p2pannex.git_annex.pid_locks import locks_of
from p2pannex.git_annex.sharing import Sharing
from p2pannex.keys.key import Key
from p2pannex.system.disk_work import DiskWork, InThreads
from p2pannex.system.file_locks import Busy


class Branch:
    """The ``git-annex`` branch of one repository, for trio tasks. `of` makes it from a repository's configuration.

    git-annex may use the repository at the same time. Two tasks are left to it: to merge the branches of other
    repositories, and to change the whole branch, as ``git annex forget`` does. Commits differ from those of git-annex
    only in their messages. No hooks are run.

    blocking: the branch for threads, which this object closes.
    disk_work: how changes of the journal wait for the disk; `InThreads` if None.

    All methods raise RemoteError, with a text for people, if the disk or git fails, or if another process holds the
    journal's lock for too long. Git processes keep running between calls: use the branch as an ``async with`` block, or
    await `aclose` at the end.
    """

    def __init__(self, blocking: BlockingBranch, *, disk_work: DiskWork | None = None) -> None:
        self.blocking = blocking
        self._cat_file = CatFile(blocking.git, log_max=blocking.log_max)
        self._disk_work = disk_work or InThreads()
        self._turn = trio.Lock()
        self._change = trio.Lock()  # tasks wait for each other here, so that they do not each block a thread

    @classmethod
    def of(cls, config: AnnexConfig, *, disk_work: DiskWork | None = None) -> Branch:
        """The branch of a git-annex repository, with the settings of its owner."""
        blocking = BlockingBranch(
            config.git_dir,
            shared_mode=Sharing(config.shared).file_bits,
            private=config.private_uuids,
            locks=locks_of(config),
            commits=CommitSettings(config.git_dir, config.values),
            log_max=config.log_max,
        )
        return cls(blocking, disk_work=disk_work)

    async def read(self, path: bytes) -> bytes:
        """The content of a log, committed or not; empty if there is no log at that path."""
        private = self.blocking.private_lines(path)
        text = read_journal(self.blocking.journal, path)
        if text is not None:
            await trio.lowlevel.checkpoint()
            return joined(text, private)
        try:
            self._turn.acquire_nowait()  # no second checkpoint: `read_in_trio` has one, and each takes time
        except trio.WouldBlock:
            await self._turn.acquire()
        try:
            return joined(await self._cat_file.read_in_trio(path), private)
        finally:
            self._turn.release()

    async def locations(self, key: Key) -> set[str]:
        """The uuids of the repositories that have the content of `key`, according to this repository's log."""
        return LocationLog.parse(await self.read(location_log_path(key))).present()

    def require_writable(self, key: Key, *, room: int = 0) -> None:
        """RemoteError if the location log of `key` could not be written now, as far as that can be known beforehand.

        Callers that are about to change content call it first: after an error they have changed nothing. `room`: bytes
        that must be free for the log; 0 for a removal, which frees space itself. It takes some microseconds.
        """
        self.blocking.require_writable(key, room=room)

    async def log_location(self, key: Key, uuid: str, present: bool) -> bool:
        """Log that the repository `uuid` has the content of `key`, or does not. False if the log already had that.

        The change is in the journal afterwards, where git-annex finds it. `commit`, or git-annex's next command,
        commits it. Cancellation waits for the end, because the event to log has already happened.

        If the branch's `disk_work` allows work to block the loop, and the journal's lock is free, this runs on the
        loop: two switches of thread would take as long as the work.
        """
        return await self.log_locations(key, [uuid], present)

    async def log_locations(self, key: Key, uuids: Iterable[str], present: bool) -> bool:
        """Log the same for several repositories, in one change. False if the log already had all of it."""
        if self._disk_work.may_block_loop:
            try:
                return self.blocking.log_locations(key, uuids, present, lock_timeout=0)
            except Busy:
                pass  # wait for the lock in a thread
        changed = False
        with trio.CancelScope(shield=True):
            async with self._change:
                changed = await trio.to_thread.run_sync(self.blocking.log_locations, key, frozenset(uuids), present)
        return changed

    async def commit(self, message: str = "update") -> bool:
        """Commit the journal, with changes that git-annex left in it. False if it was empty.

        If there is no branch, it is created: from origin's branch, otherwise empty. Cancellation waits for the end of
        a commit that has begun.
        """
        async with self._change:
            return await trio.to_thread.run_sync(self.blocking.commit, message)

    async def aclose(self) -> None:
        """End the git processes. This does not commit."""
        with trio.CancelScope(shield=True):
            async with self._turn, self._change:
                self._cat_file.close()
            await trio.to_thread.run_sync(self.blocking.close)
        await trio.lowlevel.checkpoint()

    async def __aenter__(self) -> Branch:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
