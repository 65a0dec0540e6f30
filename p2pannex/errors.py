"""Errors of a request to a `Service`, whichever it is: a store, a remote repository, a cluster.

`RemoteError`: this request failed, and others may follow. `ConnectionLost`: the conversation ended. Errors of the
protocol itself are in `p2pannex.protocol.errors`.
"""

from __future__ import annotations

__all__ = ["ConnectionLost", "RemoteError", "Unsupported"]


class RemoteError(Exception):
    """The service answered with ERROR, or (a local one) would have: the request failed, others may follow."""


class Unsupported(RemoteError):
    """The service cannot do this at all: its protocol version is too low, or it has nothing behind it to do it with."""


class ConnectionLost(Exception):
    """The connection ended, stalled past its deadline, or was left in the middle of something."""
