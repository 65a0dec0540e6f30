"""Where a log is: its path on the branch, and its name in the journal, which is one directory.

In the journal ``/`` is written ``_``, and ``_`` is written ``__``. That is not one to one: ``a/_b`` and ``a_/b`` would
both be ``a___b``, which git-annex reads as ``a_/b``. A path with ``/_`` in it would be committed as another log, so it
is refused; of keys, that concerns those whose backend begins with an underscore, and there are none.
"""

from __future__ import annotations

from p2pannex.keys.key import InvalidKey, Key

UUID_LOG = b"uuid.log"
REMOTE_LOG = b"remote.log"
TRUST_LOG = b"trust.log"
GROUP_LOG = b"group.log"
PREFERRED_CONTENT_LOG = b"preferred-content.log"
REQUIRED_CONTENT_LOG = b"required-content.log"
GROUP_PREFERRED_CONTENT_LOG = b"group-preferred-content.log"
NUMCOPIES_LOG = b"numcopies.log"
MINCOPIES_LOG = b"mincopies.log"
CLUSTER_LOG = b"cluster.log"
PROXY_LOG = b"proxy.log"
MAXSIZE_LOG = b"maxsize.log"


class InvalidName(ValueError):
    """No log can have this path."""


def journal_name(path: bytes) -> bytes:
    """The journal's file for the log at `path`. Raises InvalidName where the journal could not tell it from another."""
    if b"/_" in path or path.startswith(b"/") or path.endswith(b"/") or b"\n" in path or b"\0" in path or not path:
        raise InvalidName(f"the journal has no name for {path[:100]!r}")
    return path.replace(b"_", b"__").replace(b"/", b"_")


def branch_path(name: bytes) -> bytes:
    """The path on the branch of the journal's file `name`: pairs of underscores first, from the left, as git-annex
    reads them."""
    return b"_".join([part.replace(b"_", b"/") for part in name.split(b"__")])


def location_log_path(key: Key) -> bytes:
    """Where on the branch is logged who has the content of `key`."""
    return b"%b/%b.log" % (key.hashdir_lower, key.file_name)


def is_location_log(path: bytes) -> bool:
    """Whether `path` is what `location_log_path` makes of some key."""
    parts = path.split(b"/")
    if len(parts) != 3 or not parts[2].endswith(b".log"):
        return False
    try:
        return location_log_path(Key.from_file_name(parts[2][:-4])) == path
    except InvalidKey:
        return False
