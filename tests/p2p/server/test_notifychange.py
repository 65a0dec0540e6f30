"""NOTIFYCHANGE."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import trio
import trio.testing

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.stores.memory import MemoryStore
from tests.p2p.server.talk import RAW, U, line, talking
from tests.support.keys import HELLO
from tests.support.keys import HELLO_KEY as K


class Watched(MemoryStore):
    """A store with a git repository behind it, whose refs a test changes."""

    def __init__(self) -> None:
        super().__init__(U)
        self.contents[K] = HELLO
        self.send, self._receive = trio.open_memory_channel[tuple[str, ...]](100)
        self.watchers = 0
        self.watched = 0

    async def changes(self) -> AsyncGenerator[tuple[str, ...], None]:
        self.watchers += 1
        self.watched += 1
        try:
            async for refs in self._receive:
                yield refs
            raise RemoteError("the repository went away")
        finally:
            self.watchers -= 1


async def test_changes_are_told_as_they_happen() -> None:
    here = Watched()
    async with talking(here) as talk:
        await talk.say(b"NOTIFYCHANGE\n")
        await trio.testing.wait_all_tasks_blocked()
        await here.send.send(("refs/heads/main",))
        await talk.hear(b"CHANGED refs/heads/main\n")
        await here.send.send(("a", "b"))
        await here.send.send(("c",))
        await talk.idle()
        await talk.ask(b"NOTIFYCHANGE\n", b"CHANGED a b\n")
        await talk.ask(b"NOTIFYCHANGE\n", b"CHANGED c\n")
        await talk.idle()
        assert here.watched == 1, "what changes between two requests is not missed"
    assert here.watchers == 0


async def test_a_client_that_leaves_while_it_waits_for_changes_is_noticed() -> None:
    here = Watched()
    async with talking(here) as talk:
        await talk.say(b"NOTIFYCHANGE\n")
        await trio.testing.wait_all_tasks_blocked()
        assert here.watchers == 1
    assert here.watchers == 0
    assert isinstance(talk.problem, ConnectionLost)


async def test_a_request_that_comes_while_it_waits_for_changes_is_answered_after() -> None:
    here = Watched()
    async with talking(here) as talk:
        await talk.say(b"NOTIFYCHANGE\n" + line(b"CHECKPRESENT", RAW))
        await trio.testing.wait_all_tasks_blocked()
        await here.send.send(("r",))
        await talk.hear(b"CHANGED r\nSUCCESS\n")


async def test_changes_that_fail() -> None:
    here = Watched()
    async with talking(here) as talk:
        await talk.say(b"NOTIFYCHANGE\n")
        await trio.testing.wait_all_tasks_blocked()
        await here.send.aclose()
        await talk.hear(b"ERROR the repository went away\n")
        await talk.ask(b"NOTIFYCHANGE\n", b"ERROR the repository went away\n")
        await talk.idle()
    assert here.watchers == 0
    assert here.watched == 2
