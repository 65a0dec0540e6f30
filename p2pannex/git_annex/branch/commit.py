"""Commit the journal to the branch, in steps. If the process is killed after any of them, nothing is lost.

All steps are taken with the journal's lock held, as in git-annex:

1. Store the journal's files as blobs, and put them into ``annex/index``, which is git's index for this branch.
2. Merge into the index what the branch has and the index lacks. Other repositories push to the branch, and a file in
   the journal may be older than what they pushed.
3. Write the index as a tree, commit the tree on top of the branch, and move the ref, provided that it still points to
   that commit. If it does not, go back to step 2.
4. Write the commit that the index corresponds to into ``annex/index.lck`` (which is not a lock file, in spite of its
   name). When the branch points to another commit, git-annex and p2pannex merge the branch into the index before they
   use the index.
5. Remove the journal's files, except those of logs that are not on the branch now.

git's index accepts no path with a part that some system takes for ``.git``, and leaves it out. And a log on the branch
that is too large to be read cannot be merged: the branch's version stays as it is. The journal keeps its files of such
logs, where p2pannex finds them.

A process that is killed before step 5 leaves the journal as it was. The next commit adds the same content again.
"""

from __future__ import annotations

import logging
import os
import pwd
import time
from collections.abc import Callable

from p2pannex.errors import RemoteError
from p2pannex.git_annex.branch.blobs import lines, read_blobs
from p2pannex.git_annex.branch.cat_file import REF
from p2pannex.git_annex.branch.journal import Journal
from p2pannex.git_annex.config import LOG_MAX
from p2pannex.git_annex.git import Git, GitFailed
from p2pannex.git_annex.logs.location_log import merge_lines, merge_location_logs
from p2pannex.git_annex.logs.names import branch_path, is_location_log
from p2pannex.system.disk_errors import disk_errors

log = logging.getLogger(__name__)

ATTEMPTS = 20
"""Attempts to move the ref. An attempt fails if another git process has moved or locked the ref."""

ORIGIN = "refs/remotes/origin/git-annex"


def commit_journal(git: Git, journal: Journal, message: str, *, log_max: int = LOG_MAX) -> bool:
    """Commit the journal. Returns False if it was empty. It blocks. Logs of more than `log_max` bytes are not merged.

    RemoteError if it fails; then everything is still in the journal.
    """
    with journal.lock() as lock, disk_errors("cannot commit to the git-annex branch"):
        names = journal.names()
        if not names:
            return False
        _Commit(git, journal, lock, log_max).make(names, message)
        return True


class _Commit:
    """One commit. The caller holds the journal's lock.

    `lock` is its descriptor. Git commands inherit it, so that the lock is held until they end, even if we are killed.
    """

    def __init__(self, git: Git, journal: Journal, lock: int, log_max: int) -> None:
        self._git = git
        self._log_max = log_max
        self._not_merged: set[bytes] = set()
        self._journal = journal
        self._lock = lock
        self._index = os.path.join(journal.annex, b"index")
        self._note = os.path.join(journal.annex, b"index.lck")

    def make(self, names: list[bytes], message: str) -> None:
        try:
            os.unlink(self._index + b".lock")  # a killed git left it: others use the index only with the journal's lock
        except FileNotFoundError:
            pass
        head, head_tree = self._head() or self._create(message)
        stale = self._noted() != head
        if not os.path.exists(self._index):
            self._run("read-tree", head)
        staged = self._stage(names)
        for attempt in range(ATTEMPTS):
            self._merge(head, stale=stale)
            tree = self._run("write-tree").strip()
            commit = head if tree == head_tree else self._commit_tree(tree, head, message)
            if commit == head or self._move_ref(commit, head):
                break
            time.sleep(0.01 * attempt)
            moved = self._head()
            if moved is None:
                raise RemoteError("the git-annex branch was removed during a commit to it")
            stale = stale or moved[0] != head
            head, head_tree = moved
        else:
            raise RemoteError("other processes are changing the git-annex branch, or have it locked; try again later")
        self._journal.replace(self._note, commit + b"\n")
        committed = staged - self._not_merged
        self._journal.remove([name for name in names if branch_path(name) in committed])

    def _run(self, *arguments: bytes | str, input: bytes = b"") -> bytes:  # noqa: A002
        variables = {"GIT_INDEX_FILE": self._index}
        return self._git.run(*arguments, input=input, variables=variables, pass_fds=[self._lock])

    def _head(self) -> tuple[bytes, bytes] | None:
        """The branch's commit and the tree of that commit; None if there is no branch."""
        found = self._run("for-each-ref", "--format=%(objectname) %(tree)", REF).split()
        return (found[0], found[1]) if len(found) == 2 else None

    def _create(self, message: str) -> tuple[bytes, bytes]:
        """Create the branch as git-annex does: from origin's branch, otherwise empty. Returns the same as `_head`."""
        commit = self._run("for-each-ref", "--format=%(objectname)", ORIGIN).strip()
        if not commit:
            commit = self._commit_tree(self._run("mktree").strip(), None, "branch created")
        self._move_ref(commit, b"")
        head = self._head()
        if head is None:
            raise RemoteError("cannot create the git-annex branch")
        return head

    def _noted(self) -> bytes:
        try:
            with open(self._note, "rb") as file:
                return file.readline().strip()
        except FileNotFoundError:
            return b""

    def _stage(self, names: list[bytes]) -> set[bytes]:
        """Put the journal's files into the index. Returns the paths of the logs that the index has accepted."""
        blobs = self._store([os.path.join(self._journal.directory, name) for name in names])
        paths = [branch_path(name) for name in names]
        output = self._update_index(list(zip(blobs, paths, strict=True)))
        accepted = {line[len(b"add '") : -1] for line in output.split(b"\n") if line.startswith(b"add '")}
        for path in sorted(set(paths) - accepted):
            log.warning("git's index does not accept %s; it stays in the journal", path.decode("utf-8", "replace"))
        return accepted

    def _store(self, paths: list[bytes]) -> list[bytes]:
        stored = self._run("hash-object", "-w", "--no-filters", "--stdin-paths", input=lines(paths)).split()
        if len(stored) != len(paths):
            raise RemoteError("git hash-object did not store all files of the journal")
        return stored

    def _update_index(self, entries: list[tuple[bytes, bytes]]) -> bytes:
        """Returns a line ``add 'PATH'`` for each entry that the index has accepted. git ignores the others."""
        if not entries:
            return b""
        rows = [b"100644 %b\t%b\0" % entry for entry in entries]
        return self._run("update-index", "--verbose", "-z", "--index-info", input=b"".join(rows))

    def _merge(self, head: bytes, *, stale: bool) -> None:
        """Merge into the index what `head` has and the index lacks.

        `stale`: the index may lack changes that others have pushed to the branch. If it is not stale, lines that a log
        lacks in the index were removed on purpose, and are not added again. Location logs are merged in any case,
        because their timestamps show whether a missing line is obsolete.
        """
        self._not_merged.clear()
        differing: list[tuple[bytes, bytes, bytes]] = []  # path, the blob at head, the blob in the index
        entries: list[tuple[bytes, bytes]] = []
        fields = iter(self._run("diff-index", "--cached", "--raw", "-z", "--no-renames", head).split(b"\0"))
        for description, path in zip(fields, fields, strict=False):
            _, _, at_head, in_index, status = description.split(b" ")
            if status == b"D":
                entries.append((at_head, path))
            elif status == b"M" and (stale or is_location_log(path)):
                differing.append((path, at_head, in_index))
        blobs = [blob for _, at_head, in_index in differing for blob in (at_head, in_index)]
        texts = read_blobs(self._run, blobs, self._log_max)
        for path, at_head, _ in differing:
            merge: Callable[[bytes, bytes], bytes] = merge_location_logs if is_location_log(path) else merge_lines
            old, new = next(texts), next(texts)
            if old is None or new is None:
                name = path.decode("utf-8", "replace")
                log.warning("%s in the git-annex branch is too large to be merged; it stays as it is there", name)
                self._not_merged.add(path)
                entries.append((at_head, path))
                continue
            merged = merge(new, old)
            if merged == old:
                entries.append((at_head, path))
            elif merged != new:
                entries.append((self._run("hash-object", "-w", "--stdin", input=merged).strip(), path))
        self._update_index(entries)

    def _commit_tree(self, tree: bytes, parent: bytes | None, message: str) -> bytes:
        command: list[bytes | str] = ["commit-tree", "--no-gpg-sign", tree, "-m", message]
        if parent is not None:
            command += ["-p", parent]
        try:
            return self._run(*command).strip()
        except GitFailed:
            user = _user()  # perhaps no user.name is configured; the author of these commits does not matter
            return self._run("-c", f"user.name={user}", "-c", f"user.email={user}@localhost", *command).strip()

    def _move_ref(self, commit: bytes, old: bytes) -> bool:
        """Move the branch from `old` (empty: no branch exists) to `commit`. False if it is not at `old`, or locked."""
        try:
            self._run("update-ref", REF, commit, old)
        except GitFailed:
            return False
        return True


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid{os.getuid()}"
