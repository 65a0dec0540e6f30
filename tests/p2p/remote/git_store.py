"""A store with a git program behind it, and a stream to connect it to."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import trio
import trio.testing

from p2pannex.stores.memory import MemoryStore
from tests.p2p.remote.scripted import U


class Git(MemoryStore):
    """A store with a program behind it that says back what it hears in capitals, and ends at a dot."""

    def __init__(self) -> None:
        super().__init__(U)
        self.send, self._receive = trio.open_memory_channel[tuple[str, ...]](100)
        self.watchers = 0
        self.running = 0

    async def changes(self) -> AsyncGenerator[tuple[str, ...], None]:
        self.watchers += 1
        try:
            async for refs in self._receive:
                yield refs
        finally:
            self.watchers -= 1

    async def connect(self, program: str, stream: trio.abc.HalfCloseableStream) -> int:
        self.running += 1
        try:
            async for data in stream:
                await stream.send_all(data.upper())
                if b"." in data:
                    return 7
            return 128
        finally:
            self.running -= 1


def local_side() -> tuple[trio.abc.HalfCloseableStream, trio.StapledStream]:  # type: ignore[type-arg]
    one, other = trio.testing.memory_stream_pair()
    return one, other
