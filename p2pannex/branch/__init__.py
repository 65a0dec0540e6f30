"""The branch ``git-annex`` of a repository: who has which content, and what else git-annex remembers.

The branch holds small text files, called logs here. A change goes to the journal first, a directory with the new
content of the logs that were changed, and from there, in a commit, to the branch:

    read     journal, then branch          `Branch.read`, `Branch.locations`
    change   read, write to the journal    `Branch.log_location`
    commit   journal to index to branch    `Branch.commit`

git-annex does the same at the same time, in the same files. What keeps the two from losing each other's lines is the
lock on the journal, and that two versions of a log are merged by keeping the lines of both.

The rooms: `names` and `location_log` are pure; `journal`, `cat_file`, `git` and `commit` block; `repository` puts
them together for threads (`BlockingBranch`) and for trio (`Branch`). Only the last, and a read by `Branch`, load trio.
"""

from __future__ import annotations

from p2pannex.branch.location_log import LocationLog, merge_lines, merge_location_logs
from p2pannex.branch.names import InvalidName, branch_path, journal_name, location_log_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from p2pannex.branch.repository import BlockingBranch as BlockingBranch
    from p2pannex.branch.repository import Branch as Branch

__all__ = [
    "BlockingBranch",
    "Branch",
    "InvalidName",
    "LocationLog",
    "branch_path",
    "journal_name",
    "location_log_path",
    "merge_lines",
    "merge_location_logs",
]


def __getattr__(name: str) -> object:
    if name not in {"Branch", "BlockingBranch"}:
        raise AttributeError(f"module 'p2pannex.branch' has no attribute {name!r}")
    from p2pannex.branch import repository

    return getattr(repository, name)
