"""Errors of a request to a `Service`: a store, a remote repository or a cluster.

After `RemoteError` the service accepts further requests. After `ConnectionLost` the connection cannot be used any more.
Violations of the protocol have their own errors, in `p2pannex.protocol.errors`.
"""

from __future__ import annotations

__all__ = ["ConnectionLost", "RemoteError", "Unsupported", "WrongContent"]


class RemoteError(Exception):
    """The request failed; further requests may succeed. If the service is remote, it replied ERROR."""


class Unsupported(RemoteError):
    """The service cannot fulfil this kind of request: its protocol version is too low, or it has, for example, no git
    repository for CONNECT."""


class WrongContent(RemoteError):
    """Bytes that are not the content of the key: their number or their digest shows it."""


class ConnectionLost(Exception):
    """The connection ended, timed out, or was abandoned in the middle of a message or a request."""
