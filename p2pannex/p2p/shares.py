"""Counts what each token and each address has taken of a server: connections, locks and uploads.

A client takes what its request needs before the request is worked on. If its token or its address has all of its
`Share` already, `ShareTaken` is raised and the client gets ERROR; what was taken before is kept.

The counts are in the memory of one server. Locks that clients abandoned, whose connections have ended, are limited by
the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

from attrs import frozen

from p2pannex.errors import RemoteError
from p2pannex.p2p.limits import Share

What = Literal["connections", "locks", "uploads"]


class ShareTaken(RemoteError):
    """A token or an address has as much of the server as it may have at a time."""


class Shares:
    """What the clients of one server have taken."""

    def __init__(self) -> None:
        self._taken: Counter[tuple[str, What]] = Counter()

    @contextmanager
    def take(self, what: What, holders: tuple[Holder, ...]) -> Iterator[None]:
        """Take one of `what` for all `holders`, until the block ends. ShareTaken if one has all of its share."""
        for holder in holders:
            most = getattr(holder.share, what)
            if self._taken[holder.name, what] >= most:
                raise ShareTaken(
                    f"too many {what}: this {holder.kind} has {most} already, its share of the server; "
                    "wait until one ends, or use fewer jobs"
                )
        for holder in holders:
            self._taken[holder.name, what] += 1
        try:
            yield
        finally:
            for holder in holders:
                self._taken[holder.name, what] -= 1
                if not self._taken[holder.name, what]:
                    del self._taken[holder.name, what]

    def empty(self) -> bool:
        """Whether nothing is taken."""
        return not self._taken


@frozen
class Holder:
    """A token or an address, and its share."""

    kind: Literal["token", "address"]
    id: str
    share: Share

    @property
    def name(self) -> str:
        return f"{self.kind} {self.id}"


class ClientShares:
    """The shares of one client: of its token, and of its address if that is known."""

    def __init__(self, shares: Shares, *holders: Holder) -> None:
        self._shares = shares
        self._holders = holders

    def take(self, what: What) -> AbstractContextManager[None]:
        """A context manager: one of `what` is taken until its block ends. ShareTaken if there is none left."""
        return self._shares.take(what, self._holders)


__all__ = ["ClientShares", "Holder", "ShareTaken", "Shares"]
