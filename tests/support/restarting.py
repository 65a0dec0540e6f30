"""A repository that a test restarts."""

from __future__ import annotations

from typing import Any

from p2pannex.p2p.peer import Peer
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.pair import PEERS, Pair
from tests.support.clocks import ManualClock


class RestartingRepository:
    """A repository whose machine can restart: its connections end, and its clock begins at zero.

    `peers` is for `p2pannex.testing.serving.served`.
    """

    def __init__(self, transport: str) -> None:
        self.clock = ManualClock(5000.0)
        self.store = MemoryStore(clock=self.clock)
        self._transport = transport
        self._ends: list[Peer] = []

    def peers(self, **settings: Any) -> Pair:
        pair = PEERS[self._transport](**settings)
        self._ends.append(pair[1])
        return pair

    async def restart(self) -> None:
        ends, self._ends = self._ends, []
        for end in ends:
            await end.aclose()
        self.clock.monotonic_now = 0.0
