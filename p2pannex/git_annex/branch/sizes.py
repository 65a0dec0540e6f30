"""How many bytes each repository has, computed from all location logs. Keys of unknown size do not count, and logs that
are too large to be read do not count either.

This reads the whole branch, which takes about a second for some ten thousand keys.
"""

from __future__ import annotations

from collections.abc import Iterator

from p2pannex.git_annex.branch.blobs import read_blobs
from p2pannex.git_annex.branch.cat_file import REF
from p2pannex.git_annex.branch.journal import Journal
from p2pannex.git_annex.config import LOG_MAX
from p2pannex.git_annex.git import Git, GitFailed
from p2pannex.git_annex.logs.location_log import LocationLog
from p2pannex.git_annex.logs.names import branch_path, is_location_log
from p2pannex.keys.key import InvalidKey, Key


def repository_sizes(git: Git, journal: Journal, log_max: int = LOG_MAX) -> dict[str, int]:
    """The bytes that each repository has, by its uuid. It blocks. RemoteError if git or the disk fails."""
    sizes: dict[str, int] = {}
    for path, text in _location_logs(git, journal, log_max):
        try:
            size = Key.from_file_name(path.rpartition(b"/")[2][: -len(b".log")]).size
        except InvalidKey:
            continue
        if size:
            for uuid in LocationLog.parse(text).present():
                sizes[uuid] = sizes.get(uuid, 0) + size
    return sizes


def _location_logs(git: Git, journal: Journal, log_max: int) -> Iterator[tuple[bytes, bytes]]:
    private = journal.private()
    journaled = {path for name in journal.names() if is_location_log(path := branch_path(name))}
    for name in private.names():
        if is_location_log(path := branch_path(name)):
            yield path, private.read(path) or b""
    for path in journaled:
        text = journal.read(path)
        if text is not None:  # otherwise a commit has just moved it to the branch, and the sum leaves it out
            yield path, text
    try:
        listed = git.run("ls-tree", "-r", "-z", REF)
    except GitFailed:
        return  # there is no branch yet
    found = []
    for entry in listed.split(b"\0"):
        description, tab, path = entry.partition(b"\t")
        if tab and path not in journaled and is_location_log(path):
            found.append((description.split(b" ")[2], path))
    names = [name for name, _ in found]
    for (_, path), text in zip(found, read_blobs(git.run, names, log_max), strict=True):
        if text is not None:
            yield path, text
