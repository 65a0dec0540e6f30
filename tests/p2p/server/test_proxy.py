"""A proxy, `serve(peer, remote)`: clients of every version, in front of a repository of every version."""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from p2pannex.access import Mode
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.remote import Remote
from p2pannex.p2p.server import serve
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol.conversation import Side
from p2pannex.protocol.messages import LATEST_VERSION
from p2pannex.service import Service, Upload
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.pair import peer_pair
from p2pannex.testing.player import Player, cases
from p2pannex.testing.samples import fetch, key_of, sample, store
from p2pannex.testing.services import check_service
from p2pannex.testing.serving import served
from p2pannex.testing.transcripts import load_transcripts
from p2pannex.transports.descriptor import SPLICE, DescriptorStream
from tests.support.clocks import ManualClock

VERSIONS = range(LATEST_VERSION + 1)
OTHER = "00000000-0000-4000-8000-0000000000bb"


@asynccontextmanager
async def behind(
    service: Service, nursery: trio.Nursery, *, max_version: int = LATEST_VERSION, mode: Mode = Mode.READ_WRITE
) -> AsyncIterator[Remote]:
    """The service as a proxy sees it, over sockets; the server speaks `max_version`. Nothing is connected yet."""

    async def answer(peer: Peer) -> None:
        with contextlib.suppress(ConnectionLost):
            await serve(peer, service, max_version=max_version, mode=mode)

    async def dial() -> Peer:
        client, server = peer_pair("socket", timeout=60)
        nursery.start_soon(answer, server)
        return client

    async with Remote(dial, service.uuid, timeout=60, connections=20) as remote:
        yield remote


@asynccontextmanager
async def playing_through(remotes: dict[str, Remote], nursery: trio.Nursery) -> AsyncIterator[Player]:
    """A player whose servers are proxies, one a connection."""

    async def serve_one(end: socket.socket, mode: str) -> None:
        with contextlib.suppress(ConnectionLost):
            await serve(StreamPeer(DescriptorStream.over_socket(end), Side.SERVER, timeout=60), remotes[mode])

    async def open_stream(mode: str) -> DescriptorStream:
        ours, theirs = socket.socketpair()
        nursery.start_soon(serve_one, theirs, mode)
        return DescriptorStream.over_socket(ours)

    player = Player(open_stream, run="t", timeout=60)
    yield player
    await player.aclose()


AHEAD_OF_THEIR_VERSION = ("append-only", "read-only", "remove-before-old-versions")
"""Transcripts with requests of version 3 at older ones. A server answers them; they cannot be passed on to one that is
as old as that."""


@pytest.mark.parametrize("max_version", VERSIONS)
async def test_a_proxy_is_what_it_stands_for(max_version: int, tmp_path: Path) -> None:
    """Every transcript, at every version that the repository behind the proxy speaks."""
    offers = {"files", "waiting"}
    played = 0
    async with (
        DirectoryStore.create(tmp_path / "store") as store_,
        trio.open_nursery() as nursery,
        contextlib.AsyncExitStack() as stack,
    ):
        remotes = {
            mode.value: await stack.enter_async_context(behind(store_, nursery, max_version=max_version, mode=mode))
            for mode in Mode
        }
        player = await stack.enter_async_context(playing_through(remotes, nursery))
        for transcript, version in cases(load_transcripts(), frozenset(range(max_version + 1))):
            if transcript.needs <= offers and (max_version >= 3 or transcript.name not in AHEAD_OF_THEIR_VERSION):
                await player.play(transcript, version)
                played += 1
    assert played > 50


class Talk:
    """A client that speaks lines to a proxy."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def ask(self, *lines: str) -> str:
        """The answer, which has to be one line, to these."""
        await self._stream.send_all("".join(f"{line}\n" for line in lines).encode())
        return await self.hear()

    async def hear(self) -> str:
        """The next line; nothing where the proxy closed."""
        line = bytearray()
        with trio.fail_after(50):
            while not line.endswith(b"\n"):
                data = await self._stream.receive_some(1)
                if not data:
                    break
                line += data
        return line.decode().removesuffix("\n")


@asynccontextmanager
async def talking(service: Service) -> AsyncIterator[Talk]:
    """A client of `service`, which goes away at the end."""
    ours, theirs = socket.socketpair()
    stream = DescriptorStream.over_socket(ours)

    async def proxy() -> None:
        with contextlib.suppress(ConnectionLost):
            await serve(StreamPeer(DescriptorStream.over_socket(theirs), Side.SERVER, timeout=60), service)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(proxy)
        yield Talk(stream)
        await stream.aclose()


@pytest.mark.parametrize("max_version", VERSIONS)
@pytest.mark.parametrize("version", VERSIONS)
async def test_the_version_is_what_both_speak(version: int, max_version: int) -> None:
    async with (
        trio.open_nursery() as nursery,
        behind(MemoryStore(), nursery, max_version=max_version) as remote,
        talking(remote) as client,
    ):
        assert (await client.hear()).startswith("AUTH-SUCCESS ")
        assert await client.ask(f"VERSION {version}") == f"VERSION {min(version, max_version)}"


@pytest.mark.parametrize(
    ("version", "max_version"),
    [pair for pair in itertools.product(VERSIONS, VERSIONS) if not {0, LATEST_VERSION}.isdisjoint(pair)],
)
async def test_every_client_is_served_through_every_repository(version: int, max_version: int) -> None:
    """The whole contract of a Service, for a client that adapts to the version it is told."""

    @asynccontextmanager
    async def make() -> AsyncIterator[Service]:
        async with (
            trio.open_nursery() as nursery,
            behind(MemoryStore(), nursery, max_version=max_version) as remote,
            served(remote, transport="socket", version=version) as client,
        ):
            yield client

    await check_service(make)


async def test_the_greeting_and_the_first_request_need_no_version() -> None:
    dials = 0
    store_ = MemoryStore()
    key = await store(store_, b"hello")

    async with trio.open_nursery() as nursery, behind(store_, nursery) as remote:
        dial = remote._dial

        async def counted() -> Peer:
            nonlocal dials
            dials += 1
            return await dial()

        remote._dial = counted
        async with talking(remote) as client:
            assert await client.hear() == f"AUTH-SUCCESS {store_.uuid}"
            assert dials == 0
            assert await client.ask(f"CHECKPRESENT {key}") == "SUCCESS"
            assert dials == 1
            assert await client.ask("VERSION 2") == "VERSION 2"
            assert dials == 1


async def test_a_repository_that_cannot_be_reached_ends_the_connection_at_version() -> None:
    """ERROR would say that we are of the time before versions, and the client would go on without deadlines."""

    async def dial() -> Peer:
        await trio.lowlevel.checkpoint()
        raise ConnectionLost("connection refused")

    async with Remote(dial, OTHER) as remote, talking(remote) as client:
        assert await client.hear() == f"AUTH-SUCCESS {OTHER}"
        assert await client.ask(f"CHECKPRESENT {key_of(b'hello')}") == "ERROR connection refused"
        assert await client.ask("VERSION 4") == ""


async def test_timestamps_pass_untouched() -> None:
    clock = ManualClock(123_456_789_012.5, 5.0)  # where no machine's clocks stand
    store_ = MemoryStore(clock=clock)
    key = await store(store_, b"hello")
    async with trio.open_nursery() as nursery, behind(store_, nursery) as remote, talking(remote) as client:
        await client.hear()
        await client.ask("VERSION 4")
        assert await client.ask("GETTIMESTAMP") == "TIMESTAMP 123456789012"
        assert await client.ask(f"REMOVE-BEFORE 123456789012 {key}") == "FAILURE"
        assert await client.ask(f"REMOVE-BEFORE 123456789013 {key}") == "SUCCESS"


async def test_content_stays_locked_until_the_client_unlocks_it() -> None:
    store_ = MemoryStore()
    key = await store(store_, b"hello")
    async with trio.open_nursery() as nursery, behind(store_, nursery) as remote:
        async with talking(remote) as holder, talking(remote) as other:
            for client in (holder, other):
                await client.hear()
                await client.ask("VERSION 4")
            assert await holder.ask(f"LOCKCONTENT {key}") == "SUCCESS"
            assert await other.ask(f"REMOVE {key}") == "FAILURE"
            assert not (await store_.remove(key)).ok
            assert await holder.ask("UNLOCKCONTENT", f"CHECKPRESENT {key}") == "SUCCESS"
            assert await other.ask(f"REMOVE {key}") == "SUCCESS"
        key = await store(store_, b"hello again")
        async with talking(remote) as holder:
            await holder.hear()
            assert await holder.ask(f"LOCKCONTENT {key}") == "SUCCESS"
        assert not (await store_.remove(key)).ok, "its holder only left"


class Told(MemoryStore):
    """Remembers which gateways it was told of."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[frozenset[str]] = []

    def bypassing(self, uuids: frozenset[str]) -> Service:
        self.told.append(uuids)
        return self


async def test_bypass_is_passed_on() -> None:
    store_ = Told()
    async with trio.open_nursery() as nursery, behind(store_, nursery) as remote, talking(remote) as client:
        await client.hear()
        await client.ask("VERSION 4")
        assert await client.ask(f"BYPASS {OTHER}", f"CHECKPRESENT {key_of(b'hello')}") == "FAILURE"
        assert store_.told == [frozenset({OTHER})]


@pytest.mark.parametrize("size", [10, 100_000, 5_000_000])
async def test_what_a_client_sent_before_it_left_is_kept_behind_the_proxy(size: int, tmp_path: Path) -> None:
    content = sample(size)
    key = key_of(content)
    async with (
        DirectoryStore.create(tmp_path / "store") as store_,
        trio.open_nursery() as nursery,
        behind(store_, nursery) as remote,
        served(remote, transport="socket") as client,
    ):
        upload = await client.put(key)
        assert isinstance(upload, Upload)
        async with upload:
            await upload.begin(size)
            await upload.send_all(memoryview(content)[: size // 2])
        reached = 0
        with trio.fail_after(50):
            while reached != size // 2:
                again = await client.put(key)
                assert isinstance(again, Upload)
                async with again:
                    reached = again.offset


@pytest.mark.parametrize("theirs", ["pipe", "socket", "stream"])
@pytest.mark.parametrize("ours", ["pipe", "socket", "stream"])
async def test_content_passes_through_the_kernel_where_it_can(
    ours: str, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is where one end is a pipe and the other one of ours; elsewhere it passes through a block."""
    spliced = 0
    splice = DescriptorStream.splice_nowait

    def counted(self: DescriptorStream, target: object, count: int) -> int | None:
        nonlocal spliced
        moved = splice(self, target, count)
        spliced += moved or 0
        return moved

    monkeypatch.setattr(DescriptorStream, "splice_nowait", counted)
    content = sample(5_000_000)
    async with (
        served(MemoryStore(), transport=theirs) as remote,
        served(remote, transport=ours) as client,
    ):
        for _ in range(2):
            key = await store(client, content, piece=300_000)
            assert await fetch(client, key, piece=300_000) == content
            assert await fetch(client, key, 1_234_567, piece=300_000) == content[1_234_567:]
            assert (await client.remove(key)).ok
    can = "pipe" in (ours, theirs) and "stream" not in (ours, theirs) and SPLICE is not None
    assert spliced > 2 * len(content) if can else spliced == 0


@pytest.mark.parametrize("transport", ["pipe", "socket"])
async def test_a_repository_that_dies_in_the_middle_costs_its_request_only(transport: str) -> None:
    store_ = MemoryStore()
    died = 0

    async def die_in_a_body(peer: Peer) -> None:
        nonlocal died
        async with trio.open_nursery() as serving:
            serving.start_soon(serve, peer, store_)
            while not peer.conversation.incoming:  # noqa: ASYNC110 - no event of ours
                await trio.sleep(0.001)
            serving.cancel_scope.cancel()
        died += 1

    async with trio.open_nursery() as nursery:

        async def dial() -> Peer:
            client, server = peer_pair(transport, timeout=60)
            nursery.start_soon(die_in_a_body, server)
            return client

        async with Remote(dial, store_.uuid, timeout=60) as remote, served(remote, transport="pipe") as client:
            content = sample(5_000_000)
            with pytest.raises(RemoteError):
                await store(client, content)
            assert not await client.check_present(key_of(content))
        assert died
        nursery.cancel_scope.cancel()
