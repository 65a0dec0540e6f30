"""BYPASS."""

from __future__ import annotations

from p2pannex.service import Service
from p2pannex.stores.memory import MemoryStore
from tests.p2p.server.talk import U, talking


class Bypassed(MemoryStore):
    def __init__(self) -> None:
        super().__init__(U)
        self.bypassed: list[frozenset[str]] = []

    def bypassing(self, uuids: frozenset[str]) -> Service:
        self.bypassed.append(uuids)
        return self


async def test_bypass_is_passed_on() -> None:
    here = Bypassed()
    async with talking(here) as talk:
        await talk.say(b"BYPASS u v\nBYPASS\n")
        await talk.idle()
    assert here.bypassed == [frozenset("uv"), frozenset()]
