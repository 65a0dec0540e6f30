"""No token and no address can take so much of a server that others get nothing. Over real sockets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pannex.keys.key import Key
from p2pannex.p2p.limits import Limits, Share
from p2pannex.p2p.listen import serve_listeners
from p2pannex.p2p.shares import ClientShares, Holder, Shares, ShareTaken
from p2pannex.service import RETENTION, Lock, NotLocked, TooManyLocks
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import key_of
from p2pannex.transports.listeners import open_listeners
from p2pannex.transports.sockets import TcpAddress, UnixAddress
from tests.p2p.test_listen import Server, logged, put, rest, serving

FULL = b"ERROR too many %s: this %s has %d already, its share of the server; wait until one ends, or use fewer jobs\n"


def limits(*, token: Share | None = None, address: Share | None = None) -> Limits:
    many = Share(1000, 1000, 1000)
    return Limits(delay=0.05, per_token=token or many, per_address=address or many)


async def accepted(server: Server, token: str | None = None, then: bytes = b"") -> trio.SocketStream:
    stream = await server.raw(server.auth(token) + then)
    with trio.fail_after(20):
        assert await stream.receive_some() == f"AUTH-SUCCESS {server.store.uuid}\n".encode()
    return stream


@contextlib.asynccontextmanager
async def refused(server: Server, token: str | None, reply: bytes) -> AsyncIterator[None]:
    stream = await server.raw(server.auth(token))
    assert await rest(stream) == reply
    await stream.aclose()
    yield


async def reply_to(stream: trio.SocketStream, line: bytes) -> bytes:
    await stream.send_all(line)
    with trio.fail_after(20):
        return bytes(await stream.receive_some())


async def test_one_token_cannot_take_all_connections(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path, limits=limits(token=Share.of(3))) as server:
        other, _ = server.tokens.create()
        held = [await accepted(server) for _ in range(3)]
        for _ in range(5):
            async with refused(server, None, FULL % (b"connections", b"token", 3)):
                pass
        assert f"token {server.grant.id}: too many connections" in await logged(caplog, "too many connections")
        async with server.remote(other) as remote:
            await put(remote, b"x")
        # What was given is kept, and a connection that ends makes room for another.
        assert await reply_to(held[0], b"VERSION 4\n") == b"VERSION 4\n"
        await held.pop().aclose()
        with trio.fail_after(20):
            while len(held) < 3:
                stream = await server.raw(server.auth())
                if (await stream.receive_some()).startswith(b"AUTH-SUCCESS"):
                    held.append(stream)
                else:
                    await stream.aclose()
        for stream in held:
            await stream.aclose()


async def test_one_address_cannot_take_all_connections_with_many_tokens(tmp_path: Path) -> None:
    async with serving(tmp_path, TcpAddress("127.0.0.1", 0), limits=limits(address=Share.of(3))) as server:
        tokens = [server.tokens.create()[0] for _ in range(4)]
        held = [await accepted(server, token) for token in tokens[:3]]
        async with refused(server, tokens[3], FULL % (b"connections", b"address", 3)):
            pass
        assert isinstance(server.address, TcpAddress)
        stream = await trio.open_tcp_stream("127.0.0.1", server.address.port, local_address="127.0.0.2")
        await stream.send_all(server.auth(tokens[3]))
        assert (await stream.receive_some()).startswith(b"AUTH-SUCCESS ")
        for each in (stream, *held):
            await each.aclose()


async def test_one_account_cannot_take_all_connections_of_a_socket_without_tokens(tmp_path: Path) -> None:
    store = MemoryStore()
    [listener] = await open_listeners(UnixAddress(tmp_path / "s"), authenticated=True)
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            await serve_listeners([listener], store, limits=limits(address=Share.of(2)))

        nursery.start_soon(serve)
        held = [await trio.open_unix_socket(str(tmp_path / "s")) for _ in range(2)]
        for stream in held:
            assert (await stream.receive_some()).startswith(b"AUTH-SUCCESS ")
        third = await trio.open_unix_socket(str(tmp_path / "s"))
        assert await rest(third) == FULL % (b"connections", b"address", 2)
        for stream in (third, *held):
            await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_locks_of_one_token(tmp_path: Path) -> None:
    content = b"there"
    lock, unlock = b"LOCKCONTENT %s\n" % key_of(content).raw, b"UNLOCKCONTENT\nVERSION 4\n"
    async with serving(tmp_path, limits=limits(token=Share(10, locks=2, uploads=10))) as server:
        server.store.contents[key_of(content)] = content
        other, _ = server.tokens.create()
        streams = [await accepted(server) for _ in range(3)]
        for stream in streams[:2]:
            assert await reply_to(stream, lock) == b"SUCCESS\n"
        assert await reply_to(streams[2], lock) == FULL % (b"locks", b"token", 2)
        streams.append(await accepted(server, other))
        assert await reply_to(streams[3], lock) == b"SUCCESS\n"
        assert await reply_to(streams[0], unlock) == b"VERSION 4\n"
        assert await reply_to(streams[2], lock) == b"SUCCESS\n"  # the same connection goes on
        for stream in streams:
            await stream.aclose()


async def test_locks_of_lost_connections_count_for_their_token(tmp_path: Path) -> None:
    content = b"there"
    lock = b"LOCKCONTENT %s\n" % key_of(content).raw
    async with serving(tmp_path, limits=limits(token=Share(10, locks=10, uploads=10, lost_locks=2))) as server:
        server.store.contents[key_of(content)] = content
        other, _ = server.tokens.create()
        for _ in range(2):
            stream = await accepted(server)
            assert await reply_to(stream, lock) == b"SUCCESS\n"
            await stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.05)
        stream = await accepted(server)
        refusal = await reply_to(stream, lock)
        assert refusal.startswith(b"ERROR too many locks: 2 connections of this token have ended without UNLOCKCONTENT")
        await stream.aclose()
        stream = await accepted(server, other)
        assert await reply_to(stream, lock) == b"SUCCESS\n"
        assert await reply_to(stream, b"UNLOCKCONTENT\nVERSION 4\n") == b"VERSION 4\n"
        assert await reply_to(stream, lock) == b"SUCCESS\n"
        await stream.aclose()


async def test_locks_of_lost_connections_count_until_they_expire(mock_clock: trio.testing.MockClock) -> None:
    holder = Holder("token", "a", Share(1, 1, 1, lost_locks=2))
    client = ClientShares(Shares(), holder)
    client.lose_lock()
    mock_clock.jump(RETENTION / 2)
    client.lose_lock()
    with pytest.raises(ShareTaken, match="try again then"):
        client.take("locks")
    mock_clock.jump(RETENTION / 2)
    with client.take("locks"):
        pass
    client.lose_lock()
    with pytest.raises(ShareTaken):
        client.take("locks")


class Full(MemoryStore):
    async def lock(self, key: Key) -> Lock:
        await trio.lowlevel.checkpoint()
        raise (TooManyLocks if key in self.contents else NotLocked)("the reason")


async def test_the_server_logs_that_there_are_too_many_locks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Full()
    async with serving(tmp_path, store=store) as server:
        stream = await accepted(server)
        assert await reply_to(stream, b"LOCKCONTENT %s\n" % key_of(b"absent").raw) == b"FAILURE\n"
        assert "the reason" not in caplog.text
        store.contents[key_of(b"there")] = b"there"
        assert await reply_to(stream, b"LOCKCONTENT %s\n" % key_of(b"there").raw) == b"FAILURE\n"
        await logged(caplog, "the reason")
        await stream.aclose()


async def test_uploads_of_one_token(tmp_path: Path) -> None:
    keys = [key_of(b"%d" % number) for number in range(4)]
    async with serving(tmp_path, limits=limits(token=Share(10, locks=10, uploads=2))) as server:
        other, _ = server.tokens.create()
        streams = [await accepted(server) for _ in range(3)] + [await accepted(server, other)]
        for number in (0, 1):
            assert await reply_to(streams[number], b"PUT  %s\n" % keys[number].raw) == b"PUT-FROM 0\n"
        assert await reply_to(streams[2], b"PUT  %s\n" % keys[2].raw) == FULL % (b"uploads", b"token", 2)
        assert await reply_to(streams[3], b"PUT  %s\n" % keys[3].raw) == b"PUT-FROM 0\n"
        assert await reply_to(streams[0], b"DATA 1\n0") == b"SUCCESS\n"
        assert await reply_to(streams[2], b"PUT  %s\n" % keys[2].raw) == b"PUT-FROM 0\n"
        for stream in streams:
            await stream.aclose()
    assert server.store.contents == {keys[0]: b"0"}


def test_what_was_taken_is_given_back() -> None:
    shares = Shares()
    token = Holder("token", "a", Share(1, 1, 1))
    address = Holder("address", "a", Share(2, 2, 2))
    one, two = ClientShares(shares, token, address), ClientShares(shares, address)
    with one.take("locks"):
        with pytest.raises(ShareTaken, match="this token has 1 already"):
            one.take("locks").__enter__()
        with one.take("uploads"), two.take("locks"), pytest.raises(ShareTaken, match="this address has 2"):
            two.take("locks").__enter__()
    with contextlib.suppress(LookupError), one.take("connections"):
        raise LookupError
    assert shares.empty()


def test_without_holders_nothing_is_limited() -> None:
    shares = Shares()
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(ClientShares(shares).take("uploads"))
    assert shares.empty()
