"""Reads and changes of the git-annex branch of one repository, for threads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

from p2pannex.errors import RemoteError
from p2pannex.git_annex.branch.cat_file import CatFile
from p2pannex.git_annex.branch.commit import commit_journal
from p2pannex.git_annex.branch.journal import JOURNAL_LOCK_TIMEOUT, Journal
from p2pannex.git_annex.config import LOG_MAX
from p2pannex.git_annex.git import GIT_TIMEOUT, Git
from p2pannex.git_annex.hooks import CommitSettings
from p2pannex.git_annex.logs.location_log import LocationLog
from p2pannex.git_annex.logs.names import InvalidName, is_left_out, location_log_path
from p2pannex.keys.key import Key
from p2pannex.system.disk_errors import disk_errors
from p2pannex.system.file_locks import KERNEL_LOCKS, Locks


class BlockingBranch:
    """The ``git-annex`` branch of the repository with git directory `git_dir`, in methods that block.

    Any thread may call them; one thread at a time uses the git process. The caller must call `close` at the end: it
    ends that process.

    shared_mode: permission bits for the files in ``annex/``, such as 0o660 for core.sharedRepository=group, or 0o664
        for all.
    lock_timeout, git_timeout: seconds to wait for the journal's lock, and for one git command.
    clock: returns nanoseconds since 1970, for the lines of the logs.
    private: the UUIDs of private repositories (annex.private, remote.NAME.annex-private). What is logged about them
        stays in ``annex/journal-private``, which is read with the branch, and is never committed.
    locks: how the journal is locked.
    commits: what the owner has set about commits; None commits always.
    log_max: bytes of the largest log of the branch that is read. LogTooLarge for a larger one.
    """

    def __init__(
        self,
        git_dir: str | bytes | os.PathLike[str] | os.PathLike[bytes],
        *,
        shared_mode: int = 0,
        lock_timeout: float = JOURNAL_LOCK_TIMEOUT,
        git_timeout: float = GIT_TIMEOUT,
        clock: Callable[[], int] = time.time_ns,
        private: Collection[str] = (),
        locks: Locks = KERNEL_LOCKS,
        commits: CommitSettings | None = None,
        log_max: int = LOG_MAX,
    ) -> None:
        self.git = Git(os.path.abspath(os.fsencode(git_dir)), timeout=git_timeout)
        self.journal = Journal(self.git.git_dir, timeout=lock_timeout, shared_mode=shared_mode, locks=locks)
        self.private_journal = self.journal.private()
        self.private = frozenset(private)
        self._commits = commits
        self._clock = clock
        self.log_max = log_max
        self._cat_file = CatFile(self.git, log_max=log_max)
        self._turn = threading.Lock()

    def read(self, path: bytes) -> bytes:
        """The same as `Branch.read`."""
        return joined(self._public(path), self.private_lines(path))

    def _public(self, path: bytes) -> bytes:
        text = read_journal(self.journal, path)
        return self._committed(path) if text is None else text

    def private_lines(self, path: bytes) -> bytes:
        """What the log at `path` says about private repositories. It is never committed."""
        return read_journal(self.private_journal, path) or b""

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

    def require_writable(self, key: Key, *, room: int = 0) -> None:
        """The same as `Branch.require_writable`."""
        journals = (self.journal, self.private_journal) if self.private else (self.journal,)
        path = location_log_path(key)
        if room and is_left_out(path):
            raise RemoteError("git cannot commit the location log of this key, because the key begins like .git")
        try:
            with disk_errors("cannot write to the journal of the git-annex branch"):
                for journal in journals:
                    journal.require_writable(path, room=room)
        except InvalidName as error:
            raise RemoteError(str(error)) from error

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
        public = [uuid for uuid in known if uuid not in self.private]
        private = [uuid for uuid in known if uuid in self.private]
        changed = False
        with self._changing(lock_timeout):
            if private:
                changed = self._log_privately(path, private, present)
            if public:
                changed = self._log_publicly(path, public, present) or changed
        return changed

    def _log_publicly(self, path: bytes, uuids: Iterable[str], present: bool) -> bool:
        with self.journal.opened(path) as file:
            log = LocationLog.parse(self._committed(path) if file is None else file.text)
            log, added = self._news(log, uuids, present)
            if added and (file is None or not file.append(added)):
                self.journal.write(path, log.compacted())
        return bool(added)

    def _log_privately(self, path: bytes, uuids: Iterable[str], present: bool) -> bool:
        """Log it in the private journal. The new lines are later than those that the branch has of the same uuids, from
        a time when the repositories were not private."""
        private = self.private_lines(path)
        _, added = self._news(LocationLog.parse(joined(self._public(path), private)), uuids, present)
        if added:
            self.private_journal.write(path, LocationLog.parse(private + added).compacted())
        return bool(added)

    def _news(self, log: LocationLog, uuids: Iterable[str], present: bool) -> tuple[LocationLog, bytes]:
        added = b""
        for uuid in uuids:
            line = log.news(uuid, present=present, now=self._clock())
            if line is not None:
                log = log.with_line(line)
                added += line.line + b"\n"
        return log, added

    def change(self, path: bytes, change: Callable[[bytes], bytes | None]) -> bool:
        """Replace the content of a log by what `change` returns for its present content.

        Returns False, and changes nothing, if `change` returns None.
        """
        with self._changing():
            text = change(self._public(path))
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
        settings = self._commits
        if settings is not None:
            if not settings.always or not self.journal.names():
                return False
            message = settings.message() or message
        committed = commit_journal(self.git, self.journal, message, log_max=self.log_max)
        if committed and settings is not None:
            settings.committed()
        return committed

    def close(self) -> None:
        """End the git process. A later call starts another."""
        with self._turn:
            self._cat_file.close()


def joined(public: bytes, private: bytes) -> bytes:
    """A log as it is read: the lines of the branch, then those of the private journal."""
    if private and public and not public.endswith(b"\n"):
        public += b"\n"
    return public + private


def read_journal(journal: Journal, path: bytes) -> bytes | None:
    """The journal's content of the log at `path`; None if the journal has none, or can have none of that name."""
    try:
        return journal.read(path)
    except InvalidName:
        return None
