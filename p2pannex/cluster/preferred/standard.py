"""The standard groups, and what their repositories prefer when their expression says ``standard``.

The expressions are those of git-annex's documentation. The group ``public`` is a standard one as well; what it prefers
depends on a special remote's configuration, and cannot be judged here.
"""

from __future__ import annotations

_CLIENT = (
    "(include=* and ((exclude=*/archive/* and exclude=archive/*) or "
    "(not (copies=archive:1 or copies=smallarchive:1)))) "
    "or approxlackingcopies=1"
)

STANDARD = {
    "client": _CLIENT,
    "transfer": f"(not (inallgroup=client and copies=client:2) and ({_CLIENT}))",
    "backup": "anything",
    "incrementalbackup": "((not copies=backup:1) and (not copies=incrementalbackup:1)) or approxlackingcopies=1",
    "smallarchive": "((include=*/archive/* or include=archive/*) and not (copies=archive:1 or copies=smallarchive:1)) "
    "or approxlackingcopies=1",
    "archive": "(not (copies=archive:1 or copies=smallarchive:1)) or approxlackingcopies=1",
    "source": "not (copies=1)",
    "manual": f"(present and ({_CLIENT}))",
    "public": "inpreferreddir",
    "unwanted": "not anything",
}
"""The expression of each standard group."""
