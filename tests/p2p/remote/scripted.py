"""Servers that answer as a script says, and a store with one key."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
import trio.testing

from p2pannex.errors import ConnectionLost
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.remote import Remote
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol.conversation import Side
from p2pannex.service import Service
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import fetch, key_of, store
from tests.support.clocks import ManualClock
from tests.support.keys import HELLO
from tests.support.keys import HELLO_KEY as K

U = "00000000-0000-4000-8000-000000000001"
A = key_of(b"absent")


def hello_store(clock: ManualClock | None = None) -> MemoryStore:
    here = MemoryStore(U, clock=clock)
    here.contents[K] = HELLO
    return here


def free_slots(remote: Remote) -> int:
    return remote._pool._slots.value


# A server that does as it is told ----------------------------------------------------------------------------------

Script = list[tuple[bytes, bytes | None]]
"""What each connection's client says, and what it is answered with; None closes."""


class Scripted:
    """A server for each connection that is dialled, with a script of its own; its greeting comes first."""

    def __init__(self, nursery: trio.Nursery, *scripts: Script, greeting: bytes = b"AUTH-SUCCESS u\n") -> None:
        self._nursery = nursery
        self._scripts = iter(scripts)
        self.greeting = greeting
        self.dialled = 0
        self.heard: list[bytes] = []

    async def dial(self) -> Peer:
        self.dialled += 1
        script = next(self._scripts, None)
        if script is None:
            raise ConnectionLost("connection refused")
        one, other = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._run, other, script)
        return StreamPeer(one, Side.CLIENT, timeout=60)

    async def _run(self, stream: trio.abc.Stream, script: Script) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.send_all(self.greeting)
            heard = b""
            for expected, answer in [(b"VERSION 4\n", b"VERSION 4\n"), *script]:
                while expected and not heard.startswith(expected):
                    data = await stream.receive_some(65536)
                    if not data:
                        break
                    heard += data
                    self.heard.append(bytes(data))
                assert heard.startswith(expected) or not heard, f"expected {expected!r}, heard {heard!r}"
                heard = heard[len(expected) :]
                if answer is None:
                    break
                await stream.send_all(answer)
            else:
                while data := await stream.receive_some(65536):
                    self.heard.append(bytes(data))
            await stream.aclose()


CHECK = b"CHECKPRESENT " + K.raw + b"\n"
REMOVE = b"REMOVE " + K.raw + b"\n"
GET = b"GET 0  " + K.raw + b"\n"
PUT = b"PUT  " + K.raw + b"\n"
LOCK = b"LOCKCONTENT " + K.raw + b"\n"
GETTIMESTAMP = b"GETTIMESTAMP\n"


@asynccontextmanager
async def scripted(*scripts: Script, **settings: object) -> AsyncIterator[tuple[Remote, Scripted]]:
    async with trio.open_nursery() as nursery:
        server = Scripted(nursery, *scripts)
        async with Remote(server.dial, "u", timeout=60, **settings) as remote:  # type: ignore[arg-type]
            yield remote, server
        nursery.cancel_scope.cancel()


Request = Callable[[Remote], Awaitable[object]]
REPEATABLE: dict[str, tuple[bytes, bytes, Request]] = {
    "check_present": (CHECK, b"SUCCESS\n", lambda remote: remote.check_present(K)),
    "lock": (LOCK, b"SUCCESS\n", lambda remote: remote.lock(K)),
    "timestamp": (GETTIMESTAMP, b"TIMESTAMP 5\n", lambda remote: remote.timestamp()),
    "put": (PUT, b"PUT-FROM 0\n", lambda remote: remote.put(K)),
    "get": (GET, b"DATA 0\n", lambda remote: remote.get(K)),
}


async def use(service: Service) -> None:
    """Some of everything."""
    assert await service.check_present(K)
    await store(service, b"absent")
    assert await fetch(service, A) == b"absent"
    async with await service.lock(A):
        assert not (await service.remove(A)).ok
    await service.remove(A)
