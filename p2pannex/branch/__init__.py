"""The branch ``git-annex`` of a repository: who has which content, and what else git-annex remembers.

The branch holds small text files, called logs here. A change goes to the journal first, a directory with the new
content of the logs that were changed, and from there, in a commit, to the branch:

    read     journal, then branch          `Branch.read`, `Branch.locations`
    change   read, write to the journal    `Branch.log_location`
    commit   journal to index to branch    `Branch.commit`

git-annex does the same at the same time, in the same files. What keeps the two from losing each other's lines is the
lock on the journal, and that two versions of a log are merged by keeping the lines of both.

The rooms: `names`, `clock` and the logs are pure; `journal`, `cat_file`, `git` and `commit` block; `repository` puts
them together for threads (`BlockingBranch`) and for trio (`Branch`). Only the last, and a read by `Branch`, load trio;
nothing is loaded before it is used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from p2pannex.branch.location_log import LocationLog as LocationLog
    from p2pannex.branch.location_log import merge_lines as merge_lines
    from p2pannex.branch.location_log import merge_location_logs as merge_location_logs
    from p2pannex.branch.names import InvalidName as InvalidName
    from p2pannex.branch.names import branch_path as branch_path
    from p2pannex.branch.names import journal_name as journal_name
    from p2pannex.branch.names import location_log_path as location_log_path
    from p2pannex.branch.repository import BlockingBranch as BlockingBranch
    from p2pannex.branch.repository import Branch as Branch

_ROOMS = {
    "location_log": ["LocationLog", "merge_lines", "merge_location_logs"],
    "names": ["InvalidName", "branch_path", "journal_name", "location_log_path"],
    "repository": ["BlockingBranch", "Branch"],
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = list(_ROOM_OF)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    room = _ROOM_OF.get(name)
    if room is None:
        raise AttributeError(f"module 'p2pannex.branch' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"p2pannex.branch.{room}"), name)
