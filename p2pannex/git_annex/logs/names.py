"""The names of the logs: their paths on the branch, and their file names in the journal, which is one flat directory.

In the journal ``/`` is written as ``_``, and ``_`` as ``__``. That is ambiguous: ``a/_b`` and ``a_/b`` would both
become ``a___b``, which git-annex reads as ``a_/b``. A path with ``/_`` in it would be committed as another log, so
`journal_name` refuses it. Among keys, only those of a backend whose name begins with an underscore have such a path,
and no backend does.
"""

from __future__ import annotations

import re

from p2pannex.keys.key import InvalidKey, Key

TRUST_LOG = b"trust.log"
GROUP_LOG = b"group.log"
PREFERRED_CONTENT_LOG = b"preferred-content.log"
REQUIRED_CONTENT_LOG = b"required-content.log"
GROUP_PREFERRED_CONTENT_LOG = b"group-preferred-content.log"
NUMCOPIES_LOG = b"numcopies.log"
CLUSTER_LOG = b"cluster.log"
PROXY_LOG = b"proxy.log"
MAXSIZE_LOG = b"maxsize.log"


_TAKEN_FOR_GIT = re.compile(rb"(?:\.git|git~1)[ .]*(?:[\\:]|$)", re.IGNORECASE)
"""The start of a file name that Windows takes for ``.git``. git's index leaves out paths with such a part."""


class InvalidName(ValueError):
    """No log can have this path."""


def journal_name(path: bytes) -> bytes:
    """The journal's file name for the log at `path`. InvalidName if there is no unambiguous one."""
    if b"/_" in path or path.startswith(b"/") or path.endswith(b"/") or b"\n" in path or b"\0" in path or not path:
        raise InvalidName(f"the journal has no name for {path[:100]!r}")
    return path.replace(b"_", b"__").replace(b"/", b"_")


def branch_path(name: bytes) -> bytes:
    """The path, on the branch, of the journal's file `name`. As in git-annex, pairs of underscores from the left are
    underscores; single ones are slashes."""
    return b"_".join([part.replace(b"_", b"/") for part in name.split(b"__")])


def location_log_path(key: Key) -> bytes:
    """The path, on the branch, of the location log of `key`."""
    return b"%b/%b.log" % (key.hashdir_lower, key.file_name)


def is_left_out(path: bytes) -> bool:
    """Whether git's index leaves out the log at `path`. No commit can have it."""
    return any(_TAKEN_FOR_GIT.match(part) for part in path.split(b"/"))


def is_location_log(path: bytes) -> bool:
    """Whether `path` is the location log of some key."""
    parts = path.split(b"/")
    if len(parts) != 3 or not parts[2].endswith(b".log"):
        return False
    try:
        return location_log_path(Key.from_file_name(parts[2][:-4])) == path
    except InvalidKey:
        return False
