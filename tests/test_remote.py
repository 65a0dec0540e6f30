"""The remote: a Service over connections that break, stall, lie, and are kept for the next request."""

# ruff: noqa: ASYNC110 - what is waited for is the other side's doing, which sets no event

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import pytest
import trio
import trio.testing

from p2pannex.access import Mode
from p2pannex.errors import ConnectionLost, RemoteError, Unsupported
from p2pannex.keys.key import Key
from p2pannex.p2p.peer import Peer, StreamPeer
from p2pannex.p2p.pool import close
from p2pannex.p2p.remote import CONNECTIONS, AuthenticationFailed, Remote, WrongRepository
from p2pannex.p2p.server import serve
from p2pannex.protocol.conversation import Side
from p2pannex.protocol.messages import LATEST_VERSION, Auth, AuthFailure, AuthSuccess
from p2pannex.service import RETENTION, AlreadyHave, NotStored, Removal, Service, Stored, Upload
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.faults import Fault, FaultyStream, Operation, cancel_everywhere
from p2pannex.testing.pair import PEERS, Pair, peer_pair
from p2pannex.testing.samples import begin_upload, fetch, key_of, sample, send_pieces, store
from p2pannex.testing.serving import served

U = "00000000-0000-4000-8000-000000000001"
HELLO = b"hello"
K = key_of(HELLO)
A = key_of(b"absent")
VERSIONS = range(LATEST_VERSION + 1)


class Hands:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


def hello_store(clock: Hands | None = None) -> MemoryStore:
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
            raise ConnectionLost("nobody is there")
        one, other = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._run, other, script)
        return StreamPeer(one, Side.CLIENT, timeout=5)

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
        async with Remote(server.dial, "u", timeout=5, **settings) as remote:  # type: ignore[arg-type]
            yield remote, server
        nursery.cancel_scope.cancel()


# Opening -----------------------------------------------------------------------------------------------------------


async def test_the_uuid_is_asked_for() -> None:
    async with trio.open_nursery() as nursery:
        server = Scripted(nursery, [(CHECK, b"SUCCESS\n")])
        async with await Remote.open(server.dial) as remote:
            assert remote.uuid == "u"
            assert await remote.check_present(K)
            assert server.dialled == 1, "the connection that it was asked over is kept"
        nursery.cancel_scope.cancel()


async def test_another_repository_is_told_nothing() -> None:
    async with trio.open_nursery() as nursery:
        server = Scripted(nursery, [])
        async with Remote(server.dial, "v") as remote:
            with pytest.raises(WrongRepository, match="expected repository v, found u"):
                await remote.check_present(K)
            assert free_slots(remote) == CONNECTIONS
        with pytest.raises(ConnectionLost):
            await Remote.open(server.dial, "v")
        await trio.testing.wait_all_tasks_blocked()
        assert server.heard == []
        nursery.cancel_scope.cancel()


async def test_a_repository_that_becomes_another() -> None:
    async with scripted([(CHECK, b"SUCCESS\n"), (CHECK, None)], []) as (remote, server):
        assert await remote.check_present(K)
        server.greeting = b"AUTH-SUCCESS other\n"
        with pytest.raises(WrongRepository):
            await remote.check_present(K)
        assert free_slots(remote) == CONNECTIONS


@pytest.mark.parametrize(
    ("greeting", "problem"),
    [
        (b"ERROR go away\n", "go away"),
        (b"Welcome to this machine\n", "violated the protocol"),
        (b"SUCCESS\n", "violated the protocol"),
        (b"x" * 40_000, "violated the protocol"),
        (b"AUTH-SUCC", "within 5 s|nothing for 5 s"),
        (b"", "within 5 s|nothing for 5 s"),
    ],
)
async def test_what_else_a_server_may_say_first(
    greeting: bytes, problem: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        server = Scripted(nursery, [], greeting=greeting)
        with pytest.raises(ConnectionLost, match=problem):
            await Remote.open(server.dial, timeout=5)
        nursery.cancel_scope.cancel()


async def test_a_dial_that_hangs(autojump_clock: trio.testing.MockClock) -> None:
    async def dial() -> Peer:
        await trio.sleep_forever()
        raise AssertionError

    remote = Remote(dial, U, timeout=30)
    with trio.fail_after(31):
        with pytest.raises(ConnectionLost, match="30 s"):
            await remote.check_present(K)
    assert free_slots(remote) == CONNECTIONS


async def test_a_dial_that_fails() -> None:
    async def dial() -> Peer:
        raise ConnectionLost("no route to host")

    remote = Remote(dial, U)
    for _ in range(20):
        with pytest.raises(ConnectionLost, match="no route"):
            await remote.check_present(K)
    assert free_slots(remote) == CONNECTIONS


@pytest.mark.parametrize("transport", PEERS)
async def test_tokens(transport: str) -> None:
    async def answer(server: Peer) -> None:
        try:
            request = await server.receive()
            if isinstance(request, Auth) and request.token == "good":
                await server.send(AuthSuccess(U))
                with contextlib.suppress(ConnectionLost):
                    await serve(server, hello_store())
            elif isinstance(request, Auth):
                await server.send(AuthFailure())
        finally:
            await close(server)

    async with trio.open_nursery() as nursery:

        async def dial() -> Peer:
            client, server = peer_pair(transport, authenticated=False)
            nursery.start_soon(answer, server)
            return client

        async with Remote(dial, U, credentials=Auth("me", "good")) as remote:
            assert await remote.check_present(K)
        for credentials in (Auth("me", "bad"), None):
            async with Remote(dial, U, credentials=credentials) as remote:
                with pytest.raises(AuthenticationFailed):
                    await remote.check_present(K)
                assert free_slots(remote) == CONNECTIONS
        nursery.cancel_scope.cancel()


async def test_gateways_to_bypass_are_named() -> None:
    async with scripted([(b"BYPASS g h\n" + CHECK, b"SUCCESS\n")], bypass=("g", "h")) as (remote, _):
        assert await remote.check_present(K)


# Versions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_a_low_version_cannot_do(version: int) -> None:
    async with served(hello_store(), version=version, transport="socket") as remote:
        if version < 3:
            with pytest.raises(Unsupported, match="version 3"):
                await remote.timestamp()
            with pytest.raises(Unsupported, match="REMOVE-BEFORE"):
                await remote.remove(K, before=99)
        else:
            assert await remote.timestamp() >= 0
        upload = await remote.put(A)
        assert isinstance(upload, Upload)
        async with upload:
            if version < 4:
                with pytest.raises(Unsupported, match="version 4"):
                    await upload.data_present()
            else:
                assert isinstance(await upload.data_present(), NotStored)
        assert await remote.check_present(K), "the connection is used again"
        assert free_slots(remote) == CONNECTIONS


async def test_an_upload_that_could_not_be_present_can_be_sent() -> None:
    async with served(hello_store(), version=3) as remote:
        upload = await remote.put(A)
        assert isinstance(upload, Upload)
        async with upload:
            with pytest.raises(Unsupported):
                await upload.data_present()
            await upload.begin(6)
            await upload.send_all(memoryview(b"absent"))
            assert await upload.finish(True) == Stored()


async def test_version_0_tells_absent_from_empty_by_the_key() -> None:
    here = hello_store()
    empty, unsized = key_of(b""), Key(b"WORM--unsized")
    here.contents[empty] = b""
    here.contents[unsized] = b""
    async with served(here, version=0) as remote:
        assert await fetch(remote, empty) == b""
        assert await fetch(remote, K, 5) == b""
        assert await fetch(remote, A) is None
        assert await fetch(remote, unsized) is None, "it cannot be known: what is not certain is not promised"


async def test_version_0_cannot_disown_what_was_sent() -> None:
    here = hello_store()
    async with served(here, version=0) as remote:
        upload = await remote.put(A)
        assert isinstance(upload, Upload)
        async with upload:
            await upload.begin(6)
            await upload.send_all(memoryview(b"abXent"))
            with pytest.raises(ConnectionLost, match="version 0"):
                await upload.finish(False)
        assert not await remote.check_present(A)
        assert free_slots(remote) == CONNECTIONS


# Connections are kept, and repeated over where that is safe --------------------------------------------------------


async def test_connections_are_kept() -> None:
    async with scripted([(CHECK, b"SUCCESS\n"), (CHECK, b"FAILURE\n")]) as (remote, server):
        assert await remote.check_present(K)
        assert not await remote.check_present(K)
        assert server.dialled == 1


Request = Callable[[Remote], Awaitable[object]]
REPEATABLE: dict[str, tuple[bytes, bytes, Request]] = {
    "check_present": (CHECK, b"SUCCESS\n", lambda remote: remote.check_present(K)),
    "lock": (LOCK, b"SUCCESS\n", lambda remote: remote.lock(K)),
    "timestamp": (GETTIMESTAMP, b"TIMESTAMP 5\n", lambda remote: remote.timestamp()),
    "put": (PUT, b"PUT-FROM 0\n", lambda remote: remote.put(K)),
    "get": (GET, b"DATA 0\n", lambda remote: remote.get(K)),
}


@pytest.mark.parametrize("name", REPEATABLE)
async def test_a_stale_connection_is_replaced_once(name: str) -> None:
    request, answer, call = REPEATABLE[name]
    async with scripted([(CHECK, b"SUCCESS\n"), (request, None)], [(request, answer)]) as (remote, server):
        assert await remote.check_present(K)
        result = await call(remote)
        assert result
        assert server.dialled == 2
        if hasattr(result, "aclose"):
            assert free_slots(remote) == CONNECTIONS - 1
            await result.aclose()
        assert free_slots(remote) == CONNECTIONS


@pytest.mark.parametrize("name", REPEATABLE)
async def test_a_new_connection_that_breaks_is_not_replaced(name: str) -> None:
    request, _, call = REPEATABLE[name]
    async with scripted([(request, None)], [(request, None)]) as (remote, server):
        with pytest.raises(ConnectionLost):
            await call(remote)
        assert server.dialled == 1
        assert free_slots(remote) == CONNECTIONS


@pytest.mark.parametrize("name", REPEATABLE)
async def test_a_replacement_that_breaks_too(name: str) -> None:
    request, _, call = REPEATABLE[name]
    async with scripted([(CHECK, b"SUCCESS\n"), (request, None)], [(request, None)]) as (remote, server):
        assert await remote.check_present(K)
        with pytest.raises(ConnectionLost):
            await call(remote)
        assert server.dialled == 2
        assert free_slots(remote) == CONNECTIONS


@pytest.mark.parametrize("name", REPEATABLE)
async def test_a_replacement_that_cannot_be_had(name: str) -> None:
    request, _, call = REPEATABLE[name]
    async with scripted([(CHECK, b"SUCCESS\n"), (request, None)]) as (remote, server):
        assert await remote.check_present(K)
        for _ in range(3):
            with pytest.raises(ConnectionLost, match="nobody is there"):
                await call(remote)
            assert free_slots(remote) == CONNECTIONS, "a slot is given back once"
        assert server.dialled == 4


async def test_a_replacement_may_speak_a_lower_version() -> None:
    here = hello_store()
    versions = iter([4, 2])
    async with trio.open_nursery() as nursery:

        async def run(server: Peer, most: int, stop: trio.CancelScope) -> None:
            with stop, contextlib.suppress(ConnectionLost):
                await serve(server, here, max_version=most)

        stops = [trio.CancelScope(), trio.CancelScope()]
        scopes = iter(stops)

        async def dial() -> Peer:
            client, server = peer_pair("stream")
            nursery.start_soon(run, server, next(versions), next(scopes))
            return client

        async with Remote(dial, U) as remote:
            assert await remote.timestamp()
            stops[0].cancel()
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(Unsupported):
                await remote.timestamp()
            assert free_slots(remote) == CONNECTIONS
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("before", [None, 99])
async def test_a_removal_is_never_repeated(before: int | None) -> None:
    request = REMOVE if before is None else b"REMOVE-BEFORE 99 " + K.raw + b"\n"
    async with scripted([(CHECK, b"SUCCESS\n"), (request, None)], [(request, b"SUCCESS\n")]) as (remote, server):
        assert await remote.check_present(K)
        with pytest.raises(ConnectionLost):
            await remote.remove(K, before=before)
        assert server.dialled == 1
        assert free_slots(remote) == CONNECTIONS


async def test_a_connection_that_is_known_to_be_dead_is_not_used() -> None:
    here = hello_store()
    async with served(here, transport="socket") as remote:
        assert await remote.check_present(K)
        (peer,) = remote._pool._idle
        assert isinstance(peer, StreamPeer)
        await peer.stream.send_eof()  # type: ignore[attr-defined]
        await trio.testing.wait_all_tasks_blocked()
        assert (await remote.remove(K)).ok, "also where it could not be repeated"


# Errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*REPEATABLE, "remove"])
async def test_an_error_fails_the_request_and_not_the_connection(name: str) -> None:
    requests = {**REPEATABLE, "remove": (REMOVE, b"SUCCESS\n", lambda remote: remote.remove(K))}
    request, _, call = requests[name]
    script: Script = [*[(request, b"ERROR it is  full\n")] * 3, (CHECK, b"SUCCESS\n")]
    async with scripted(script) as (remote, server):
        for _ in range(3):
            with pytest.raises(RemoteError, match="it is  full") as caught:
                await call(remote)
            assert not isinstance(caught.value, ConnectionLost)
        assert await remote.check_present(K)
        assert server.dialled == 1
        assert free_slots(remote) == CONNECTIONS


async def test_errors_in_the_middle_of_transfers() -> None:
    async with scripted(
        [
            (GET, b"DATA 5\nhelloERROR it broke\n"),
            (PUT, b"PUT-FROM 0\n"),
            (b"DATA 5\nhelloVALID\n", b"ERROR no room\n"),
            (PUT, b"PUT-FROM 0\n"),
            (b"DATA-PRESENT\n", b"ERROR where?\n"),
            (CHECK, b"SUCCESS\n"),
        ]
    ) as (remote, server):
        async with await remote.get(K) as download:
            assert await download.readinto(memoryview(bytearray(10))) == 5
            with pytest.raises(RemoteError, match="it broke"):
                await download.valid()
        async with await begin_upload(remote, K) as upload:  # type: ignore[union-attr]
            await upload.begin(5)
            await upload.send_all(memoryview(HELLO))
            with pytest.raises(RemoteError, match="no room"):
                await upload.finish(True)
        async with await begin_upload(remote, K) as upload:  # type: ignore[union-attr]
            with pytest.raises(RemoteError, match="where"):
                await upload.data_present()
        assert await remote.check_present(K)
        assert server.dialled == 1
        assert free_slots(remote) == CONNECTIONS


NONSENSE = [b"PUT-FROM 0\n", b"FOO\n", b"\n", b"SUCC", b"x" * 40_000, b"VERSION 4\n", b"CHECKPRESENT SHA256--x\n"]


@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_a_server_that_makes_no_sense(nonsense: bytes, autojump_clock: trio.testing.MockClock) -> None:
    async with scripted([(CHECK, nonsense)], [(CHECK, b"SUCCESS\n")]) as (remote, server):
        with pytest.raises(ConnectionLost):
            await remote.check_present(K)
        assert await remote.check_present(K)
        assert server.dialled == 2
        assert free_slots(remote) == CONNECTIONS


@pytest.mark.parametrize("name", [*REPEATABLE, "remove"])
async def test_a_server_that_never_answers(name: str, autojump_clock: trio.testing.MockClock) -> None:
    requests = {**REPEATABLE, "remove": (REMOVE, b"SUCCESS\n", lambda remote: remote.remove(K))}
    request, _, call = requests[name]
    async with scripted([(request, b"")]) as (remote, _):
        began = trio.current_time()
        with pytest.raises(ConnectionLost, match="5 s"):
            await call(remote)
        assert trio.current_time() - began == pytest.approx(5)
        assert free_slots(remote) == CONNECTIONS


async def test_a_body_that_stops(autojump_clock: trio.testing.MockClock) -> None:
    async with scripted([(GET, b"DATA 5\nhel")]) as (remote, _):
        async with await remote.get(K) as download:
            assert await download.readinto(memoryview(bytearray(10))) == 3
            with pytest.raises(ConnectionLost, match="5 s"):
                await download.readinto(memoryview(bytearray(10)))
        assert free_slots(remote) == CONNECTIONS


# UUIDs -------------------------------------------------------------------------------------------------------------


async def test_repositories_that_are_named_and_never_the_remotes_own() -> None:
    async with scripted(
        [
            (REMOVE, b"SUCCESS-PLUS v u w\n"),
            (REMOVE, b"FAILURE-PLUS u\n"),
            (REMOVE, b"FAILURE-PLUS v\n"),
            (PUT, b"ALREADY-HAVE-PLUS u v\n"),
            (PUT, b"PUT-FROM 0\n"),
            (b"DATA 5\nhelloVALID\n", b"SUCCESS-PLUS u v\n"),
            (PUT, b"PUT-FROM 0\n"),
            (b"DATA-PRESENT\n", b"FAILURE-PLUS v u\n"),
        ]
    ) as (remote, server):
        assert await remote.remove(K) == Removal(True, frozenset("vw"))
        assert await remote.remove(K) == Removal(False)
        assert await remote.remove(K) == Removal(False, frozenset("v"))
        assert await remote.put(K) == AlreadyHave(frozenset("v"))
        async with await begin_upload(remote, K) as upload:  # type: ignore[union-attr]
            await upload.begin(5)
            await upload.send_all(memoryview(HELLO))
            assert await upload.finish(True) == Stored(frozenset("v"))
        async with await begin_upload(remote, K) as upload:  # type: ignore[union-attr]
            assert await upload.data_present() == NotStored(frozenset("v"))
        assert server.dialled == 1


# The pool ----------------------------------------------------------------------------------------------------------


async def test_connections_are_bounded_and_others_wait(autojump_clock: trio.testing.MockClock) -> None:
    here = hello_store()
    async with served(here, connections=2, timeout=60) as remote:
        async with contextlib.AsyncExitStack() as held:
            for _ in range(2):
                await held.enter_async_context(await remote.get(K))
            assert free_slots(remote) == 0
            with pytest.raises(ConnectionLost, match="busy for 60 s"):
                await remote.check_present(K)
            assert free_slots(remote) == 0
        assert free_slots(remote) == 2
        assert await remote.check_present(K)

        open_now = most = 0

        async def one() -> None:
            nonlocal open_now, most
            async with await remote.get(K):
                open_now += 1
                most = max(most, open_now)
                await trio.sleep(1)
                open_now -= 1

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(one)
        assert most == 2
        assert free_slots(remote) == 2


async def test_a_closed_remote_keeps_nothing() -> None:
    here = hello_store()
    async with served(here) as remote:
        download = await remote.get(K)
        assert await remote.check_present(K)
        await remote.aclose()
        await remote.aclose()
        with pytest.raises(ConnectionLost, match="closed"):
            await remote.check_present(K)
        async with download:
            assert await download.readinto(memoryview(bytearray(9))) == 5
            assert await download.valid()
            await download.finish(True)
        assert not remote._pool._idle
        assert free_slots(remote) == CONNECTIONS


@pytest.mark.parametrize("transport", PEERS)
async def test_transfers_that_are_left_give_their_connection_back(transport: str) -> None:
    here = hello_store()
    big = sample(2_000_000)
    here.contents[key_of(big)] = big
    async with served(here, transport=transport, connections=1) as remote:
        for _ in range(3):
            async with await remote.get(key_of(big)):
                pass
            async with await remote.get(key_of(big)) as download:
                await download.readinto(memoryview(bytearray(10)))
            async with await begin_upload(remote, A) as upload:  # type: ignore[union-attr]
                await upload.begin(6)
            async with await begin_upload(remote, A) as upload:  # type: ignore[union-attr]
                pass
            with pytest.raises(ConnectionLost, match="closed"):
                await upload.begin(6)
            with pytest.raises(ConnectionLost, match="closed"):
                await download.valid()
            assert free_slots(remote) == 1
            assert await remote.check_present(K)


# Locks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", PEERS)
async def test_a_lock_whose_holder_is_lost_is_kept(transport: str) -> None:
    clock = Hands()
    here = hello_store(clock)
    async with served(here, transport=transport) as remote:
        lock = await remote.lock(K)
        assert lock is not None
        await lock.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert not (await remote.remove(K)).ok
        clock.now += RETENTION - 1
        assert not (await remote.remove(K)).ok
        clock.now += 1
        assert (await remote.remove(K)).ok


async def test_a_lock_that_was_lost_cannot_be_released() -> None:
    async with served(hello_store()) as remote:
        lock = await remote.lock(K)
        assert lock is not None
        await lock.aclose()
        with pytest.raises(ConnectionLost):
            await lock.release()


# Changes and CONNECT -----------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("transport", PEERS)
async def test_changes(transport: str) -> None:
    here = Git()
    async with served(here, transport=transport) as remote:
        for n in range(10):
            here.send.send_nowait((f"r{n}", "s"))
        async with aclosing(remote.changes()) as changes:
            for n in range(10):
                assert await anext(changes) == (f"r{n}", "s")
            assert here.watchers == 1
            assert free_slots(remote) == CONNECTIONS - 1
        assert free_slots(remote) == CONNECTIONS
        with trio.fail_after(5):
            while here.watchers:
                await trio.sleep(0.001)


async def test_changes_wait_as_long_as_it_takes(autojump_clock: trio.testing.MockClock) -> None:
    here = Git()

    async def later() -> None:
        await trio.sleep(80_000)
        here.send.send_nowait(("r",))

    async with served(here, timeout=60) as remote, trio.open_nursery() as nursery:
        nursery.start_soon(later)
        async with aclosing(remote.changes()) as changes:
            assert await anext(changes) == ("r",)


async def test_no_changes_where_there_is_no_git_repository() -> None:
    async with served(hello_store(), transport="socket") as remote:
        async with aclosing(remote.changes()) as changes:
            with pytest.raises(RemoteError, match="no git repository"):
                await anext(changes)
        assert await remote.check_present(K)


def local_side() -> tuple[trio.abc.HalfCloseableStream, trio.StapledStream]:  # type: ignore[type-arg]
    one, other = trio.testing.memory_stream_pair()
    return one, other


@pytest.mark.parametrize("transport", PEERS)
async def test_connect(transport: str) -> None:
    here = Git()
    async with served(here, transport=transport) as remote:
        for _ in range(2):
            ours, theirs = local_side()
            codes: list[int] = []

            async def connect(stream: trio.abc.HalfCloseableStream, codes: list[int] = codes) -> None:
                codes.append(await remote.connect("git-upload-pack", stream))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(connect, theirs)
                await ours.send_all(b"abc")
                assert await ours.receive_some(10) == b"ABC"
                await ours.send_all(b"d.")
                assert await ours.receive_some(10) == b"D."
            assert codes == [7]
        assert free_slots(remote) == CONNECTIONS
        assert not remote._pool._idle, "CONNECT is the last that a connection does"


@pytest.mark.parametrize("transport", PEERS)
async def test_connect_relays_both_ways_at_once(transport: str) -> None:
    """More than any buffer on the way holds, in both directions, each side reading only what it gets."""
    size = 6_000_000
    data = sample(size)

    class Both(MemoryStore):
        async def connect(self, program: str, stream: trio.abc.HalfCloseableStream) -> int:
            got = bytearray()

            async def take() -> None:
                while len(got) < size:
                    got.extend(await stream.receive_some())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(take)
                for start in range(0, size, 1 << 20):
                    await stream.send_all(memoryview(data)[start : start + (1 << 20)])
            return int(bytes(got) != data)

    async with served(Both(U), transport=transport) as remote, trio.open_nursery() as nursery:
        ours, theirs = local_side()
        codes: list[int] = []
        got = bytearray()

        async def connect() -> None:
            codes.append(await remote.connect("git-upload-pack", theirs))
            await theirs.aclose()

        async def take() -> None:
            async for part in ours:
                got.extend(part)

        nursery.start_soon(connect)
        nursery.start_soon(take)
        await ours.send_all(data)
        with trio.fail_after(20):
            while not codes:
                await trio.sleep(0.01)
    assert codes == [0]
    assert bytes(got) == data


@pytest.mark.parametrize("transport", PEERS)
async def test_connect_that_is_refused(transport: str) -> None:
    async with served(hello_store(), transport=transport) as remote:
        _, theirs = local_side()
        with pytest.raises(RemoteError, match="no git repository"):
            await remote.connect("git-upload-pack", theirs)
        assert free_slots(remote) == CONNECTIONS
        assert await remote.check_present(K)
    async with served(Git(), transport=transport, mode=Mode.READ_ONLY) as remote:
        _, theirs = local_side()
        with pytest.raises(RemoteError, match="read-only"):
            await remote.connect("git-receive-pack", theirs)


async def test_connect_whose_local_side_breaks() -> None:
    here = Git()
    async with served(here, transport="socket") as remote:
        ours, theirs = local_side()
        await ours.send_all(b"abc")
        with pytest.raises(ConnectionLost, match="local side"):
            await remote.connect("git-upload-pack", FaultyStream(theirs, receives=3))
        assert free_slots(remote) == CONNECTIONS
        with trio.fail_after(5):
            while here.running:
                await trio.sleep(0.001)


async def test_connect_whose_server_dies() -> None:
    async with scripted([(b"CONNECT git-upload-pack\n", b"DATA 3\nabc"), (b"", None)]) as (remote, _):
        ours, theirs = local_side()
        with pytest.raises(ConnectionLost):
            await remote.connect("git-upload-pack", theirs)
        assert await ours.receive_some(10) == b"abc"
        assert free_slots(remote) == CONNECTIONS


async def test_connect_through_a_proxy() -> None:
    async with served(Git(), transport="socket") as inner, served(inner, transport="pipe") as outer:
        ours, theirs = local_side()
        await ours.send_all(b"through.")
        assert await outer.connect("git-upload-pack", theirs) == 7
        assert await ours.receive_some(10) == b"THROUGH."


# A proxy -----------------------------------------------------------------------------------------------------------


async def test_a_proxy_outlives_what_is_behind_it() -> None:
    """Where the repository behind a proxy goes away, requests fail, and the proxy's clients stay connected."""
    here = hello_store()
    content = sample(3_000_000)
    dialling = True

    async with trio.open_nursery() as nursery:
        stop = trio.CancelScope()

        async def run(server: Peer) -> None:
            with stop, contextlib.suppress(ConnectionLost):
                await serve(server, here)

        async def dial() -> Peer:
            if not dialling:
                raise ConnectionLost("the machine is off")
            client, server = peer_pair("stream")
            nursery.start_soon(run, server)
            return client

        async with Remote(dial, U) as behind, served(behind, transport="socket", connections=1) as remote:
            assert await remote.check_present(K)
            async with await begin_upload(remote, key_of(content)) as upload:  # type: ignore[union-attr]
                await upload.begin(len(content))
                await send_pieces(upload, content[:1_000_000])
                dialling = False
                stop.cancel()
                await send_pieces(upload, content[1_000_000:])
                with pytest.raises(RemoteError):
                    await upload.finish(True)
            (kept,) = remote._pool._idle
            for _ in range(2):
                with pytest.raises(RemoteError, match="the machine is off"):
                    await remote.check_present(K)
                with pytest.raises(RemoteError, match="the machine is off"):
                    await remote.remove(K)
            dialling = True
            stop = trio.CancelScope()
            assert await remote.check_present(K)
            assert await store(remote, content) == key_of(content)
            assert remote._pool._idle == [kept], "it is the same connection all the time"
        nursery.cancel_scope.cancel()


# Broken at every byte ----------------------------------------------------------------------------------------------


async def use(service: Service) -> None:
    """Some of everything."""
    assert await service.check_present(K)
    await store(service, b"absent")
    assert await fetch(service, A) == b"absent"
    async with await service.lock(A):  # type: ignore[union-attr]
        assert not (await service.remove(A)).ok
    await service.remove(A)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("direction", ["receives", "sends"])
@pytest.mark.parametrize("connections", [2, 4])
async def test_connections_that_fail_at_any_byte(
    fault: Fault, direction: str, connections: int, autojump_clock: trio.testing.MockClock
) -> None:
    """All of it works, or fails with ConnectionLost: nothing else, no wrong answer, and nothing is leaked."""
    for at in itertools.chain(range(0, 700, 3), [math.inf]):
        here = hello_store()

        def peers(timeout: float, at: float = at) -> Pair:
            one, other = trio.testing.memory_stream_pair()
            faulty = FaultyStream(one, fault, **{direction: at})  # type: ignore[arg-type]
            return (
                StreamPeer(faulty, Side.CLIENT, timeout=timeout),
                StreamPeer(other, Side.SERVER, timeout=timeout),
            )

        async with served(here, peers=peers, connections=connections, timeout=30) as remote:
            try:
                await use(remote)
            except ConnectionLost:
                assert at < math.inf
            assert free_slots(remote) == connections
        await trio.testing.wait_all_tasks_blocked()
        assert here.contents[K] == HELLO
        assert here.contents.get(A, b"absent") == b"absent"
        assert not here._uploading


@pytest.mark.parametrize("piece", [1, 7, 1000])
async def test_streams_that_trickle(piece: int) -> None:
    def peers(timeout: float) -> Pair:
        one, other = trio.testing.memory_stream_pair()
        return (
            StreamPeer(FaultyStream(one, piece=piece), Side.CLIENT, timeout=timeout),
            StreamPeer(FaultyStream(other, piece=piece), Side.SERVER, timeout=timeout),
        )

    async with served(hello_store(), peers=peers) as remote:
        await use(remote)
        content = sample(4000)
        assert await fetch(remote, await store(remote, content)) == content


# Cancelled anywhere ------------------------------------------------------------------------------------------------


async def upload_big(remote: Remote) -> None:
    await store(remote, sample(1_100_000))


async def download_big(remote: Remote) -> None:
    assert await fetch(remote, key_of(BIG)) == BIG


async def lock_and_release(remote: Remote) -> None:
    async with await remote.lock(K):  # type: ignore[union-attr]
        await trio.lowlevel.checkpoint()


async def watch(remote: Remote) -> None:
    with trio.move_on_after(0.001):
        async with aclosing(remote.changes()) as changes:
            await anext(changes)


BIG = sample(1_100_000, seed=1)
OPERATIONS: dict[str, Callable[[Remote], Awaitable[None]]] = {
    "use": use,
    "upload": upload_big,
    "download": download_big,
    "lock": lock_and_release,
}


@pytest.mark.parametrize("transport", ["memory", "stream", "socket"])
@pytest.mark.parametrize("name", OPERATIONS)
async def test_cancelled_anywhere(transport: str, name: str) -> None:
    """Slots come back, the store is right, locks are as promised, and the remote goes on."""
    operation = OPERATIONS[name]

    @asynccontextmanager
    async def world() -> AsyncIterator[Operation]:
        clock = Hands()
        here = hello_store(clock)
        here.contents[key_of(BIG)] = BIG
        async with served(here, transport=transport, connections=2) as remote:
            yield lambda: operation(remote)
            assert free_slots(remote) == 2
            assert all(peer.reusable for peer in remote._pool._idle)
            with trio.fail_after(5):
                while here._uploading:
                    await trio.sleep(0.001)
            for key, partial in here.partials.items():
                assert sample(1_100_000).startswith(partial) or b"absent".startswith(partial), key
            for key, content in here.contents.items():
                assert key_of(content) == key
            assert here.contents[K] == HELLO
            clock.now += 2 * RETENTION
            await use(remote)
            assert free_slots(remote) == 2

    assert await cancel_everywhere(world) > 3


async def test_a_cancelled_holder_keeps_the_lock() -> None:
    """Wherever the holder is cancelled once it has the lock, the content is kept for as long as was promised."""

    @asynccontextmanager
    async def world() -> AsyncIterator[Operation]:
        clock = Hands()
        here = hello_store(clock)
        held = released = False

        async def operation() -> None:
            nonlocal held, released
            async with await remote.lock(K):  # type: ignore[union-attr]
                held = True
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
                released = True

        async with served(here, transport="stream") as remote:
            yield operation
            await trio.testing.wait_all_tasks_blocked()
            if held and not released:
                assert not (await here.remove(K)).ok
            clock.now += RETENTION
            assert (await here.remove(K)).ok, "and no longer"

    assert await cancel_everywhere(world) > 3
