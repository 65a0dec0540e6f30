"""Counts what each token and each address has taken of a server: connections, locks and uploads.

A client takes what its request needs before the request is worked on. If its token or its address has all of its
`Share` already, `ShareTaken` is raised and the client gets ERROR; what was taken before is kept.

A lock whose connection ended before UNLOCKCONTENT stays for ten minutes. It counts for its token and its address until
then. Otherwise one client could lock, disconnect and repeat that, until the store gives no lock to others.

The counts are in the memory of one server.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Literal

import trio
from attrs import frozen

from p2pannex.errors import RemoteError
from p2pannex.service import RETENTION

if TYPE_CHECKING:
    from p2pannex.p2p.limits import Share

What = Literal["connections", "locks", "uploads"]


class ShareTaken(RemoteError):
    """A token or an address has as much of the server as it may have at a time."""


class Shares:
    """What the clients of one server have taken."""

    def __init__(self) -> None:
        self._taken: Counter[tuple[str, What]] = Counter()
        self._lost: Counter[str] = Counter()
        self._expiries: deque[tuple[float, tuple[Holder, ...]]] = deque()
        """The lost locks, in the order in which they expire: when each does, and the holders that it counts for."""

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

    def require_few_lost_locks(self, holders: tuple[Holder, ...]) -> None:
        """ShareTaken if one of `holders` has lost so many locks that it gets no further one."""
        while self._expiries and self._expiries[0][0] <= trio.current_time():
            for holder in self._expiries.popleft()[1]:
                self._lost[holder.name] -= 1
                if not self._lost[holder.name]:
                    del self._lost[holder.name]
        for holder in holders:
            if self._lost[holder.name] >= holder.share.lost_locks:
                raise ShareTaken(
                    f"too many locks: {self._lost[holder.name]} connections of this {holder.kind} have ended without "
                    f"UNLOCKCONTENT; their locks stay for {RETENTION / 60:g} minutes, try again then"
                )

    def lose_lock(self, holders: tuple[Holder, ...]) -> None:
        """Count a lock whose connection has ended, until it expires."""
        if holders:
            self._lost.update(holder.name for holder in holders)
            self._expiries.append((trio.current_time() + RETENTION, holders))

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
        if what == "locks":
            self._shares.require_few_lost_locks(self._holders)
        return self._shares.take(what, self._holders)

    def lose_lock(self) -> None:
        """Count a lock of this client that stays although its connection has ended."""
        self._shares.lose_lock(self._holders)


__all__ = ["ClientShares", "Holder", "ShareTaken", "Shares"]
