"""Reads and changes of the git-annex branch of one repository, for threads and for trio."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType

import trio

from p2pannex.errors import RemoteError
from p2pannex.git_annex.branch.cat_file import CatFile
from p2pannex.git_annex.branch.commit import commit_journal
from p2pannex.git_annex.branch.journal import JOURNAL_LOCK_TIMEOUT, Journal
from p2pannex.git_annex.git import GIT_TIMEOUT, Git
from p2pannex.git_annex.logs.location_log import LocationLog
from p2pannex.git_annex.logs.names import UUID_LOG, InvalidName, location_log_path
from p2pannex.keys.key import Key
from p2pannex.system.disk_errors import disk_errors
from p2pannex.system.disk_work import DiskWork, InThreads
from p2pannex.system.file_locks import Busy


class BlockingBranch:
    """The branch, in methods that block. Any thread may call them; one thread at a time uses the git process.

    The caller must call `close` at the end: it ends that process.
    """

    def __init__(
        self,
        git_dir: str | bytes | os.PathLike[str] | os.PathLike[bytes],
        *,
        shared_mode: int = 0,
        lock_timeout: float = JOURNAL_LOCK_TIMEOUT,
        git_timeout: float = GIT_TIMEOUT,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.git = Git(os.path.abspath(os.fsencode(git_dir)), timeout=git_timeout)
        self.journal = Journal(self.git.git_dir, timeout=lock_timeout, shared_mode=shared_mode)
        self._clock = clock
        self._cat_file = CatFile(self.git)
        self._turn = threading.Lock()

    def read(self, path: bytes) -> bytes:
        """The same as `Branch.read`."""
        text = read_journal(self.journal, path)
        return self._committed(path) if text is None else text

    def prefetch(self, key: Key) -> None:
        """Ask git for the key's log, because it will probably be changed next. It does not block.

        It does nothing if the journal has the log, or another thread uses the git process.
        """
        path = location_log_path(key)
        if self._turn.acquire(blocking=False):
            try:
                if not self.journal.has(path):
                    self._cat_file.prefetch(path)
            finally:
                self._turn.release()

    def _committed(self, path: bytes) -> bytes:
        with self._turn:
            return self._cat_file.read(path)

    def locations(self, key: Key) -> set[str]:
        """The same as `Branch.locations`."""
        return LocationLog.parse(self.read(location_log_path(key))).present()

    def log_location(self, key: Key, uuid: str, present: bool) -> bool:
        """The same as `Branch.log_location`."""
        return self.log_locations(key, [uuid], present)

    def log_locations(
        self, key: Key, uuids: Iterable[str], present: bool, *, lock_timeout: float | None = None
    ) -> bool:
        """The same as `Branch.log_locations`. Busy if the journal's lock is not free within `lock_timeout` seconds."""
        known = sorted(uuids)
        for uuid in known:
            if not uuid or any(c in uuid for c in " \n\r\0"):
                raise ValueError(f"not a uuid: {uuid!r}")
        path = location_log_path(key)
        with self._changing(lock_timeout), self.journal.opened(path) as file:
            log = LocationLog.parse(self._committed(path) if file is None else file.text)
            added = b""
            for uuid in known:
                line = log.news(uuid, present=present, now=self._clock())
                if line is not None:
                    log = log.with_line(line)
                    added += line.line + b"\n"
            if added and (file is None or not file.append(added)):
                self.journal.write(path, log.compacted())
            return bool(added)

    def change(self, path: bytes, change: Callable[[bytes], bytes | None]) -> bool:
        """Replace the content of a log by what `change` returns for its present content.

        Returns False, and changes nothing, if `change` returns None.
        """
        with self._changing():
            text = change(self.read(path))
            if text is None:
                return False
            self.journal.write(path, text)
            return True

    @contextmanager
    def _changing(self, lock_timeout: float | None = None) -> Iterator[None]:
        with self.journal.lock(lock_timeout), disk_errors("cannot write to the journal of the git-annex branch"):
            try:
                yield
            except InvalidName as error:
                raise RemoteError(str(error)) from error

    def commit(self, message: str = "update") -> bool:
        """The same as `Branch.commit`."""
        return commit_journal(self.git, self.journal, message)

    def close(self) -> None:
        """End the git process. A later call starts another."""
        with self._turn:
            self._cat_file.close()


class Branch:
    """The ``git-annex`` branch of the repository with git directory `git_dir`, for trio tasks.

    git-annex may use the repository at the same time. Two tasks are left to it: to merge the branches of other
    repositories, and to change the whole branch, as ``git annex forget`` does. Commits differ from those of git-annex
    only in their messages. No hooks are run.

    shared_mode: permission bits for the files in ``annex/``, such as 0o660 for core.sharedRepository=group, or 0o664
        for all.
    lock_timeout, git_timeout: seconds to wait for the journal's lock, and for one git command.
    clock: returns nanoseconds since 1970, for the lines of the logs.
    disk_work: how changes of the journal wait for the disk; `InThreads` if None.

    All methods raise RemoteError, with a text for people, if the disk or git fails, or if another process holds the
    journal's lock for too long. Git processes keep running between calls: use the branch as an ``async with`` block, or
    await `aclose` at the end.
    """

    def __init__(
        self,
        git_dir: str | bytes | os.PathLike[str] | os.PathLike[bytes],
        *,
        shared_mode: int = 0,
        lock_timeout: float = JOURNAL_LOCK_TIMEOUT,
        git_timeout: float = GIT_TIMEOUT,
        clock: Callable[[], int] = time.time_ns,
        disk_work: DiskWork | None = None,
    ) -> None:
        self.blocking = BlockingBranch(
            git_dir, shared_mode=shared_mode, lock_timeout=lock_timeout, git_timeout=git_timeout, clock=clock
        )
        self._cat_file = CatFile(self.blocking.git)
        self._disk_work = disk_work or InThreads()
        self._turn = trio.Lock()
        self._change = trio.Lock()  # tasks wait for each other here, so that they do not each block a thread

    async def read(self, path: bytes) -> bytes:
        """The content of a log, committed or not; empty if there is no log at that path."""
        text = read_journal(self.blocking.journal, path)
        if text is not None:
            await trio.lowlevel.checkpoint()
            return text
        try:
            self._turn.acquire_nowait()  # no second checkpoint: `read_in_trio` has one, and each takes time
        except trio.WouldBlock:
            await self._turn.acquire()
        try:
            return await self._cat_file.read_in_trio(path)
        finally:
            self._turn.release()

    async def locations(self, key: Key) -> set[str]:
        """The uuids of the repositories that have the content of `key`, according to this repository's log."""
        return LocationLog.parse(await self.read(location_log_path(key))).present()

    async def uuid_log(self) -> bytes:
        """The content of uuid.log, which has the descriptions of repositories."""
        return await self.read(UUID_LOG)

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


def read_journal(journal: Journal, path: bytes) -> bytes | None:
    """The journal's content of the log at `path`; None if the journal has none, or can have none of that name."""
    try:
        return journal.read(path)
    except InvalidName:
        return None
