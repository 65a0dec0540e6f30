"""The branch of one repository, for threads and for trio."""

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
    """The branch, in calls that block. Any thread may make them; those that use git take turns.

    Close it when done with it, to end the git process that it keeps.
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
        """As `Branch.read`."""
        text = read_journal(self.journal, path)
        return self._committed(path) if text is None else text

    def prefetch(self, key: Key) -> None:
        """The key's log will probably be changed next: git is asked for it, if it is needed. It does not block."""
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
        """As `Branch.locations`."""
        return LocationLog.parse(self.read(location_log_path(key))).present()

    def log_location(self, key: Key, uuid: str, present: bool) -> bool:
        """As `Branch.log_location`."""
        return self.log_locations(key, [uuid], present)

    def log_locations(
        self, key: Key, uuids: Iterable[str], present: bool, *, lock_timeout: float | None = None
    ) -> bool:
        """As `Branch.log_locations`. Busy where others have the lock for so many seconds."""
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
        """Give a log the content that `change` makes of its present one. It may return None: then nothing happens."""
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
        """As `Branch.commit`."""
        return commit_journal(self.git, self.journal, message)

    def close(self) -> None:
        """End the git process. Any later call starts another."""
        with self._turn:
            self._cat_file.close()


class Branch:
    """The branch ``git-annex`` of the repository at `git_dir` (of a work tree, its ``.git``), as tasks use it.

    Read and change it while git-annex is at work on it. What other repositories know is there when git-annex has
    merged it: that is its work, and so are changes of the whole branch such as ``git annex forget``.

    `shared_mode` are permission bits for the files in ``annex/``: 0o660 for core.sharedRepository=group, 0o664 for
    all. `disk_work` says how changes of the journal wait for the disk; `InThreads` if None. Commits, other than by the
    message, are like git-annex's; hooks are not run.

    All methods raise RemoteError, in words for people, when the disk or git fails or others keep the lock too long.
    Use it in ``async with``, or await `aclose`: it keeps git processes.
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
        self._change = trio.Lock()  # those who wait for it wait without a thread each

    async def read(self, path: bytes) -> bytes:
        """The content of a log, committed or not; empty when there is none of that path."""
        text = read_journal(self.blocking.journal, path)
        if text is not None:
            await trio.lowlevel.checkpoint()
            return text
        try:
            self._turn.acquire_nowait()  # the exchange is a checkpoint; another would cost a quarter of its time
        except trio.WouldBlock:
            await self._turn.acquire()
        try:
            return await self._cat_file.read_in_trio(path)
        finally:
            self._turn.release()

    async def locations(self, key: Key) -> set[str]:
        """The uuids of the repositories that have the content of `key`, as far as is logged here."""
        return LocationLog.parse(await self.read(location_log_path(key))).present()

    async def uuid_log(self) -> bytes:
        """The log that describes repositories."""
        return await self.read(UUID_LOG)

    async def log_location(self, key: Key, uuid: str, present: bool) -> bool:
        """Log that the repository `uuid` has the content of `key`, or has it not. Whether that was news.

        It is in the journal afterwards, where git-annex finds it; `commit` puts it on the branch, or git-annex's next
        command does. Cancellation waits for the end: what is to be logged has happened.

        Where the branch's `disk_work` lets work block the loop, and the journal's lock is free, it is done on the loop:
        the two switches of thread would take as long as the work.
        """
        return await self.log_locations(key, [uuid], present)

    async def log_locations(self, key: Key, uuids: Iterable[str], present: bool) -> bool:
        """The same for several repositories, in one change. Whether any of it was news."""
        if self._disk_work.may_block_loop:
            try:
                return self.blocking.log_locations(key, uuids, present, lock_timeout=0)
            except Busy:
                pass  # wait for the lock in a thread
        news = False
        with trio.CancelScope(shield=True):
            async with self._change:
                news = await trio.to_thread.run_sync(self.blocking.log_locations, key, frozenset(uuids), present)
        return news

    async def commit(self, message: str = "update") -> bool:
        """Commit the journal: ours, and what git-annex has left in it. Whether there was anything.

        The branch is created where there is none: from origin's, or else empty. Cancellation waits for the end of a
        commit that has begun.
        """
        async with self._change:
            return await trio.to_thread.run_sync(self.blocking.commit, message)

    async def aclose(self) -> None:
        """End the git processes. Nothing is committed by it."""
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
    """What the journal has for `path`; None when it has nothing, or could not have."""
    try:
        return journal.read(path)
    except InvalidName:
        return None
