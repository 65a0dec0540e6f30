"""The least number of copies: how many nodes must have content before a cluster vouches for it.

An upload that leaves fewer copies ends with NotStored. The nodes that stored the content keep it, and a later upload is
offered to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import attrs

from p2pannex.cluster.ask import listed
from p2pannex.errors import RemoteError
from p2pannex.service import AlreadyHave, NotStored, Stored


def too_few(count: int, least: int, failures: Mapping[str, str]) -> str:
    """Why content is not stored, though `count` nodes have it."""
    nodes = "1 node has" if count == 1 else f"{count} nodes have"
    more = f"; {listed(failures)}" if failures else ""
    return f"{nodes} the content, but the cluster requires {least} copies{more}"


@attrs.frozen
class Outcomes:
    """Makes the outcome of one upload into a cluster.

    `least` is the least number of copies, and `nodes` are the UUIDs of the cluster's nodes, which count as one copy
    each. What is behind a node that is a gateway is not counted. `elsewhere` are nodes that were not to store the
    content, but have it. `named` selects the UUIDs that a client may learn.
    """

    least: int
    nodes: Collection[str]
    elsewhere: frozenset[str]
    named: Callable[[frozenset[str]], frozenset[str]]

    def of_upload(self, holders: frozenset[str], failures: Mapping[str, str], *, stored: bool) -> Stored | NotStored:
        """The outcome if `holders` have the content, and nodes have failed. `stored`: a node has stored it now."""
        named = self.named(holders)
        if not stored:
            return NotStored(named, failures)
        count = self._count(holders)
        if count < self.least:
            return NotStored(named, failures, too_few(count, self.least, failures))
        return Stored(named, failures)

    def already(self, holders: frozenset[str], failures: Mapping[str, str]) -> AlreadyHave:
        """The outcome if no node is left to store the content on. RemoteError if there are too few copies."""
        count = self._count(holders)
        if count < self.least:
            raise RemoteError(too_few(count, self.least, failures))
        return AlreadyHave(self.named(holders), failures)

    def _count(self, holders: frozenset[str]) -> int:
        if self.least == 1:
            return 1  # one has it, whatever its UUID is
        return len((holders | self.elsewhere).intersection(self.nodes))
