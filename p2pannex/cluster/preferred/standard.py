"""The standard groups, and the expression that ``standard`` stands for in each group.

The expressions are those of git-annex's documentation. The expression of the group ``public`` depends on a special
remote's configuration and cannot be evaluated here.
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
