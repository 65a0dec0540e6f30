"""The limit of open file descriptors (RLIMIT_NOFILE).

Most systems give programs a soft limit of 1024, for old programs that use select(2), and a far higher hard limit. A
server may raise its soft limit up to the hard one.
"""

from __future__ import annotations

import resource


def raise_descriptor_limit(wanted: int) -> int:
    """Raise the soft limit to `wanted`, or as near to it as the hard limit allows; never lower it. Returns the limit.

    Programs that are started later inherit it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    new = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (new, hard))
    except (OSError, ValueError):  # more than the system's own limit, or a sandbox forbids it
        return soft
    return new
