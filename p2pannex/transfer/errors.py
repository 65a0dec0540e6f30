"""Errors of transfers. Each is a `RemoteError`: after it, the service accepts further requests."""

from __future__ import annotations

from collections.abc import Mapping

from p2pannex.errors import RemoteError, WrongContent
from p2pannex.service import NotStored


class NotPresent(RemoteError):
    """The service does not have the content."""


class NotStoredError(RemoteError):
    """The service did not store the content. `uuids`: other repositories that have stored it, or had it before.
    `failures`: the nodes of a cluster that did not store it, by name, each with the reason."""

    def __init__(self, message: str, outcome: NotStored | None = None) -> None:
        super().__init__(message)
        outcome = outcome or NotStored()
        self.uuids = outcome.uuids
        self.failures: Mapping[str, str] = outcome.failures


class WrongContentNotStored(NotStoredError, WrongContent):
    """The service did not store the content, because the bytes that were sent are not the content of the key."""


__all__ = ["NotPresent", "NotStoredError", "WrongContent", "WrongContentNotStored"]
