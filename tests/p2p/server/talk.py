"""A client that speaks to a server in bytes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from p2pannex.access import Mode
from p2pannex.p2p.server import serve
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol.conversation import Side
from p2pannex.protocol.messages import LATEST_VERSION
from p2pannex.service import Service
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import key_of
from tests.support.clocks import ManualClock
from tests.support.keys import HELLO
from tests.support.keys import HELLO_KEY as K

U = "00000000-0000-4000-8000-000000000001"
A = key_of(b"absent")
RAW, ABSENT = K.raw, A.raw
VERSIONS = range(LATEST_VERSION + 1)


class Talk:
    """A client that speaks in bytes."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self.problem: BaseException | None = None
        self.heard = bytearray()
        self.done = trio.Event()

    async def say(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def hear(self, expected: bytes) -> None:
        """The next bytes that the server says are these."""
        got = self.heard
        with trio.fail_after(50):
            while len(got) < len(expected) and expected.startswith(got):
                data = await self.stream.receive_some(65536)
                if not data:
                    break
                got += data
        assert bytes(got[: len(expected)]) == expected
        del got[: len(expected)]

    async def ask(self, said: bytes, answer: bytes) -> None:
        await self.say(said)
        await self.hear(answer)

    async def idle(self) -> None:
        """The server is between requests: the next one is answered."""
        await self.ask(b"CHECKPRESENT " + ABSENT + b"\n", b"FAILURE\n")

    async def closed(self, within: float = 50) -> None:
        """The server says no more, and closes."""
        with trio.fail_after(within), contextlib.suppress(trio.BrokenResourceError):
            while data := await self.stream.receive_some(65536):
                self.heard += data
        assert not self.heard

    async def end(self) -> None:
        """The client leaves, and the server has ended."""
        await self.stream.aclose()
        with trio.fail_after(50):
            await self.done.wait()


@asynccontextmanager
async def talking(
    service: Service,
    *,
    version: int | None = LATEST_VERSION,
    mode: Mode = Mode.READ_WRITE,
    timeout: float | None = 60,
    **settings: float,
) -> AsyncIterator[Talk]:
    one, other = trio.testing.memory_stream_pair()
    talk = Talk(one)

    async def run() -> None:
        peer = StreamPeer(other, Side.SERVER, timeout=timeout)
        try:
            await serve(peer, service, mode=mode, **settings)  # type: ignore[arg-type]
        except Exception as error:
            talk.problem = error
        finally:
            talk.done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await talk.hear(b"AUTH-SUCCESS %s\n" % service.uuid.encode())
        if version is not None:
            await talk.ask(b"VERSION %d\n" % version, b"VERSION %d\n" % version)
        yield talk
        await talk.stream.aclose()
        with trio.move_on_after(50) as scope:
            await talk.done.wait()
        assert not scope.cancelled_caught, "the server does not end when its client leaves"


def store(*contents: bytes, clock: ManualClock | None = None) -> MemoryStore:
    made = MemoryStore(U, clock=clock)
    for content in contents or (HELLO,):
        made.contents[key_of(content)] = content
    return made


# Every request at every version ------------------------------------------------------------------------------------


def line(*words: bytes) -> bytes:
    return b" ".join(words) + b"\n"
