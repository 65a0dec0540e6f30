"""Errors of a request to a `Service`: a store, a remote repository or a cluster.

After `RemoteError` the service accepts further requests. After `ConnectionLost` the connection cannot be used any more.
Violations of the protocol have their own errors, in `p2pannex.protocol.errors`.
"""

from __future__ import annotations

__all__ = [
    "APPEND_ONLY_ERROR",
    "LIMITED_ERROR",
    "READ_ONLY_ERROR",
    "AccessDenied",
    "ConnectionLost",
    "RemoteError",
    "Unsupported",
    "WrongContent",
]

READ_ONLY_ERROR = "this repository is read-only; write access denied"
APPEND_ONLY_ERROR = "this repository is append-only; removal denied"
LIMITED_ERROR = "git access denied"
"""The texts of the ERROR to a request that a restriction refuses. git-annex's servers send the first two as well."""


class RemoteError(Exception):
    """The request failed; further requests may succeed. If the service is remote, it replied ERROR."""


class Unsupported(RemoteError):
    """The service cannot fulfil this kind of request: its protocol version is too low, or it has, for example, no git
    repository for CONNECT."""


class WrongContent(RemoteError):
    """Bytes that are not the content of the key: their number or their digest shows it."""


class AccessDenied(RemoteError):
    """A restriction of the client refuses the request. The repository is read-only or append-only for this client, or
    the client may not use its git repository."""


class ConnectionLost(Exception):
    """The connection ended, timed out, or was abandoned in the middle of a message or a request.

    `permanent` is true if another attempt would fail in the same way until something is changed: the URL, a token, a
    certificate, or the server.
    """

    def __init__(self, message: str = "", *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent
