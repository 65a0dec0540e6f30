"""From the journal to the branch, in steps that leave a good state behind wherever they are cut off.

All of it happens under the journal's lock, as git-annex does it:

1. The journal's files are stored as blobs and put into ``annex/index``, git's index for this branch.
2. What the branch has and the index has not is merged in: git-annex keeps changes in the index only between two steps
   of this, but others push to the branch, and a journal file may be older than what they pushed.
3. The index is written as a tree, the tree committed on top of the branch, and the ref moved, if it is still where it
   was. If not, the work begins again at 2.
4. ``annex/index.lck`` (a note, not a lock) is given the commit that the index corresponds to. Where it names another
   than the branch's, git-annex and we merge the branch into the index before we use it.
5. The journal's files are removed.

Whoever is stopped before 5 leaves the journal as it was, and the next commit puts the same content in again.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Iterator

from p2pannex.errors import RemoteError
from p2pannex.git_annex.branch.cat_file import REF
from p2pannex.git_annex.branch.journal import Journal
from p2pannex.git_annex.git import Git, GitFailed
from p2pannex.git_annex.logs.location_log import merge_lines, merge_location_logs
from p2pannex.git_annex.logs.names import branch_path, is_location_log
from p2pannex.system.disk_errors import disk_errors

ATTEMPTS = 20
"""Times that the ref may be found moved, or locked by another git, before a commit gives up."""

ORIGIN = "refs/remotes/origin/git-annex"


def commit_journal(git: Git, journal: Journal, message: str) -> bool:
    """Commit what is in the journal. False when there was nothing. Blocks.

    RemoteError when it cannot be done; then everything is still in the journal.
    """
    with journal.lock() as lock, disk_errors("cannot commit to the git-annex branch"):
        names = journal.names()
        if not names:
            return False
        _Commit(git, journal, lock).make(names, message)
        return True


class _Commit:
    """One commit, while the journal is locked. `lock` is the descriptor that commands inherit, to keep it so."""

    def __init__(self, git: Git, journal: Journal, lock: int) -> None:
        self._git = git
        self._journal = journal
        self._lock = lock
        self._index = os.path.join(journal.annex, b"index")
        self._note = os.path.join(journal.annex, b"index.lck")

    def make(self, names: list[bytes], message: str) -> None:
        try:
            os.unlink(self._index + b".lock")  # left by a git that was killed: nobody else is at work on the index
        except FileNotFoundError:
            pass
        head, head_tree = self._head() or self._create(message)
        stale = self._noted() != head
        if not os.path.exists(self._index):
            self._run("read-tree", head)
        self._stage(names)
        for attempt in range(ATTEMPTS):
            self._merge(head, stale=stale)
            tree = self._run("write-tree").strip()
            commit = head if tree == head_tree else self._commit_tree(tree, head, message)
            if commit == head or self._move_ref(commit, head):
                break
            time.sleep(0.01 * attempt)
            moved = self._head()
            if moved is None:
                raise RemoteError("the git-annex branch was removed while it was committed to")
            stale = stale or moved[0] != head
            head, head_tree = moved
        else:
            raise RemoteError("the git-annex branch is being changed by others, or locked; try again later")
        self._journal.replace(self._note, commit + b"\n")
        self._journal.remove(names)

    def _run(self, *arguments: bytes | str, input: bytes = b"") -> bytes:  # noqa: A002
        variables = {"GIT_INDEX_FILE": self._index}
        return self._git.run(*arguments, input=input, variables=variables, pass_fds=[self._lock])

    def _head(self) -> tuple[bytes, bytes] | None:
        """The branch's commit, and that one's tree; None where there is no branch."""
        found = self._run("for-each-ref", "--format=%(objectname) %(tree)", REF).split()
        return (found[0], found[1]) if len(found) == 2 else None

    def _create(self, message: str) -> tuple[bytes, bytes]:
        """The branch, made as git-annex makes it: origin's, or else one without files."""
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

    def _stage(self, names: list[bytes]) -> None:
        blobs = self._store([os.path.join(self._journal.directory, name) for name in names])
        self._update_index([(blob, branch_path(name)) for blob, name in zip(blobs, names, strict=True)])

    def _store(self, paths: list[bytes]) -> list[bytes]:
        stored = self._run("hash-object", "-w", "--no-filters", "--stdin-paths", input=b"".join(_lines(paths))).split()
        if len(stored) != len(paths):
            raise RemoteError("git hash-object has not stored all of the journal")
        return stored

    def _update_index(self, entries: list[tuple[bytes, bytes]]) -> None:
        if entries:
            rows = [b"100644 %b\t%b\0" % entry for entry in entries]
            self._run("update-index", "-z", "--index-info", input=b"".join(rows))

    def _merge(self, head: bytes, *, stale: bool) -> None:
        """Put into the index what is at `head` and not in the index.

        Lines that are missing from other logs than location logs were left out on purpose where the index is not
        `stale`. Location logs are merged in any case: what is obsolete in them can be told from what got lost.
        """
        differing: list[tuple[bytes, bytes, bytes]] = []  # path, what head has, what the index has
        entries: list[tuple[bytes, bytes]] = []
        fields = iter(self._run("diff-index", "--cached", "--raw", "-z", "--no-renames", head).split(b"\0"))
        for description, path in zip(fields, fields, strict=False):
            _, _, theirs, ours, status = description.split(b" ")
            if status == b"D":
                entries.append((theirs, path))
            elif status == b"M" and (stale or is_location_log(path)):
                differing.append((path, theirs, ours))
        texts = self._blobs([blob for _, theirs, ours in differing for blob in (theirs, ours)])
        for path, theirs, _ in differing:
            merge: Callable[[bytes, bytes], bytes] = merge_location_logs if is_location_log(path) else merge_lines
            old, new = next(texts), next(texts)
            merged = merge(new, old)
            if merged == old:
                entries.append((theirs, path))
            elif merged != new:
                entries.append((self._run("hash-object", "-w", "--stdin", input=merged).strip(), path))
        self._update_index(entries)

    def _blobs(self, names: list[bytes]) -> Iterator[bytes]:
        if not names:
            return
        answer = self._run("cat-file", "--batch", input=b"".join(_lines(names)))
        position = 0
        for name in names:
            end = answer.index(b"\n", position)
            words = answer[position:end].split(b" ")
            if len(words) != 3:
                raise RemoteError(f"the git-annex branch is damaged: {name.decode('ascii', 'replace')} is missing")
            position = end + 1 + int(words[2]) + 1
            yield answer[end + 1 : position - 1]

    def _commit_tree(self, tree: bytes, parent: bytes | None, message: str) -> bytes:
        command: list[bytes | str] = ["commit-tree", "--no-gpg-sign", tree, "-m", message]
        if parent is not None:
            command += ["-p", parent]
        try:
            return self._run(*command).strip()
        except GitFailed:
            user = _user()  # perhaps git does not know who we are; the author of these commits matters to nobody
            return self._run("-c", f"user.name={user}", "-c", f"user.email={user}@localhost", *command).strip()

    def _move_ref(self, commit: bytes, old: bytes) -> bool:
        """Whether the branch was at `old` (empty: was not there), and now is at `commit`."""
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


def _lines(items: list[bytes]) -> list[bytes]:
    return [item + b"\n" for item in items]
