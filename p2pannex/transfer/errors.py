"""Errors of transfers. Each is a `RemoteError`: after it, the service accepts further requests."""

from __future__ import annotations

from p2pannex.errors import RemoteError, WrongContent


class NotPresent(RemoteError):
    """The service does not have the content."""


class NotStoredError(RemoteError):
    """The service did not store the content. `uuids`: other repositories that have stored it, or had it before."""

    def __init__(self, message: str, uuids: frozenset[str] = frozenset()) -> None:
        super().__init__(message)
        self.uuids = uuids


class WrongContentNotStored(NotStoredError, WrongContent):
    """The service did not store the content, because the bytes that were sent are not the content of the key."""


__all__ = ["NotPresent", "NotStoredError", "WrongContent", "WrongContentNotStored"]
