"""Serving real sockets: many clients, bad clients, limits, modes, and what is left afterwards."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
import trustme

from p2pannex.access import Mode, TokenFile
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.p2p.dial import open_socket_peer
from p2pannex.p2p.listen import Limits, serve_listeners
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.remote import AuthenticationFailed, Remote
from p2pannex.protocol.messages import Auth
from p2pannex.service import AlreadyHave, Stored
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import key_of
from p2pannex.transports.listeners import SocketListener, open_listeners, server_tls
from p2pannex.transports.sockets import SocketAddress, TcpAddress, UnixAddress
from p2pannex.transports.tls import client_tls
from tests.support.descriptors import count_descriptors

QUICK = Limits(delay=0.05)


class Server:
    """A store being served on a unix socket, with a file of tokens."""

    def __init__(self, directory: Path, listeners: list[SocketListener], store: MemoryStore) -> None:
        self.listeners = listeners
        self.address: SocketAddress = listeners[0].address
        self.store = store
        self.tokens = TokenFile(directory)
        self.token, self.grant = self.tokens.create()
        self.stopping = trio.Event()
        self.scope = trio.CancelScope()
        self.ended = trio.Event()

    def remote(self, token: str | None = None, *, uuid: str | None = None, **settings: Any) -> Remote:
        dial: Callable[[], Any] = partial(open_socket_peer, self.address, **settings)
        return Remote(dial, uuid or self.store.uuid, credentials=Auth("a-client", token or self.token), timeout=60)

    async def raw(self, first: bytes = b"") -> trio.SocketStream:
        """A connection on which the test writes its own bytes."""
        stream: trio.SocketStream
        if isinstance(self.address, UnixAddress):
            stream = await trio.open_unix_socket(os.fsdecode(self.address.path))
        else:
            stream = await trio.open_tcp_stream(self.address.host, self.address.port)
        if first:
            await stream.send_all(first)
        return stream

    def auth(self, token: str | None = None) -> bytes:
        return f"AUTH a-client {token or self.token}\n".encode()

    async def __call__(self, task_status: trio.TaskStatus[None], **settings: Any) -> None:
        with self.scope:
            await serve_listeners(
                self.listeners,
                self.store,
                tokens=self.tokens,
                stopping=self.stopping,
                task_status=task_status,
                **({"limits": QUICK} | settings),
            )
        self.ended.set()


@contextlib.asynccontextmanager
async def serving(
    directory: Path, address: SocketAddress | None = None, *, store: MemoryStore | None = None, **settings: Any
) -> AsyncIterator[Server]:
    opening = {name: settings.pop(name) for name in ("tls", "authenticated") if name in settings}
    listeners = await open_listeners(address or UnixAddress(directory / "s"), **opening)
    server = Server(directory, listeners, store or MemoryStore())
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server, **settings))
        yield server
        server.scope.cancel()


async def put(remote: Remote, content: bytes) -> None:
    upload = await remote.put(key_of(content))
    assert not isinstance(upload, AlreadyHave)
    async with upload:
        await upload.begin(len(content))
        await upload.send_all(memoryview(content))
        assert isinstance(await upload.finish(True), Stored)


async def get(remote: Remote, content: bytes) -> None:
    async with await remote.get(key_of(content)) as download:
        assert download.length == len(content)
        received = bytearray(download.length)
        view = memoryview(received)
        while view:
            view = view[await download.readinto(view) :]
        assert await download.valid()
        assert received == content
        await download.finish(True)


async def logged(caplog: pytest.LogCaptureFixture, text: str) -> str:
    """Wait for a line in the log."""
    with trio.fail_after(50):
        while True:
            for record in caplog.records:
                if text in record.getMessage():
                    return record.getMessage()
            await trio.sleep(0.005)


async def rest(stream: trio.abc.ReceiveStream) -> bytes:
    """What still comes. A connection that is closed on unread bytes may end with a reset."""
    received = b""
    with trio.fail_after(50), contextlib.suppress(trio.BrokenResourceError):
        async for data in stream:
            received += data
    return received


# Many -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [None, TcpAddress("127.0.0.1", 0)], ids=["unix", "tcp"])
async def test_300_clients_at_once_do_real_work(tmp_path: Path, address: SocketAddress | None) -> None:
    before = count_descriptors()
    together = 0
    all_here = trio.Event()

    limits = Limits.for_connections(1000, per_token=600, per_address=600)  # half of them may hold locks
    async with serving(tmp_path, address, limits=limits) as server:

        async def client(number: int) -> None:
            nonlocal together
            content = b"content of client %d " % number * 500
            key = key_of(content)
            async with server.remote() as remote:
                assert not await remote.check_present(key)
                await put(remote, content)
                await get(remote, content)
                async with await remote.lock(key):
                    # Every client is connected and holds a lock before any of them continues.
                    together += 1
                    if together == 300:
                        all_here.set()
                    await all_here.wait()
                    assert not (await remote.remove(key)).ok
                assert (await remote.remove(key, before=await remote.timestamp() + 60)).ok
                assert not await remote.check_present(key)

        async with trio.open_nursery() as nursery:
            for number in range(300):
                nursery.start_soon(client, number)
        assert server.store.contents == {}
    assert count_descriptors() == before


async def test_a_thousand_come_and_go(tmp_path: Path) -> None:
    async with serving(tmp_path, TcpAddress("127.0.0.1", 0)) as server:
        baseline = count_descriptors()

        async def client(number: int) -> None:
            if number % 2:
                async with server.remote() as remote:
                    await remote.check_present(Key.parse(b"WORM--x"))
            else:
                stream = await server.raw(server.auth()[: number % 40])
                await stream.aclose()

        for start in range(0, 1000, 50):
            async with trio.open_nursery() as nursery:
                for number in range(start, start + 50):
                    nursery.start_soon(client, number)
        with trio.fail_after(50):
            while count_descriptors() > baseline:  # noqa: ASYNC110 - the kernel sets no event
                await trio.sleep(0.01)


# Tokens ---------------------------------------------------------------------------------------------------------


async def test_a_wrong_token(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        with pytest.raises(AuthenticationFailed):
            await server.remote("wrong").timestamp()
        stream = await server.raw(server.auth("wrong"))
        assert await rest(stream) == b"AUTH-FAILURE\n"
        await stream.aclose()


async def test_tokens_expired_and_revoked(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        expired, _ = server.tokens.create(expires=1)
        with pytest.raises(AuthenticationFailed):
            await server.remote(expired).timestamp()
        async with server.remote() as remote:
            await remote.timestamp()
        server.tokens.revoke(server.grant.id)
        with pytest.raises(AuthenticationFailed):
            await server.remote().timestamp()


async def test_revoking_ends_the_connections_that_came_with_the_token(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=Limits(recheck=0.02)) as server:
        other, _ = server.tokens.create()
        revoked, kept = await server.raw(server.auth()), await server.raw(server.auth(other))
        for stream in (revoked, kept):
            assert await stream.receive_some() == f"AUTH-SUCCESS {server.store.uuid}\n".encode()
        server.tokens.revoke(server.grant.id)
        assert await rest(revoked) == b""
        await kept.send_all(b"VERSION 4\n")
        assert await kept.receive_some() == b"VERSION 4\n"
        await revoked.aclose()
        await kept.aclose()


async def test_a_broken_token_file_accepts_no_client_and_disconnects_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, limits=Limits(delay=0.05, recheck=0.02)) as server, server.remote() as remote:
        await remote.timestamp()
        (tmp_path / "p2pannex.access").write_text("")
        with pytest.raises(ConnectionLost, match="the server cannot verify tokens at the moment") as caught:
            await server.remote().timestamp()
        assert not isinstance(caught.value, AuthenticationFailed)  # the token may be right
        await logged(caplog, "cannot check which tokens are still valid")
        await remote.remove(Key.parse(b"WORM--x"))  # never repeated: it is the same connection


@pytest.mark.parametrize("server_mode", Mode)
@pytest.mark.parametrize("token_mode", Mode)
async def test_a_client_may_do_what_token_and_server_both_allow(
    tmp_path: Path, token_mode: Mode, server_mode: Mode
) -> None:
    content = b"there"
    async with serving(tmp_path, mode=server_mode) as server:
        server.store.contents[key_of(content)] = content
        token, _ = server.tokens.create(mode=token_mode)
        async with server.remote(token) as remote:
            await get(remote, content)
            async with await remote.lock(key_of(content)):
                pass
            if Mode.READ_ONLY in (token_mode, server_mode):
                for refused in (partial(put, remote, b"new"), partial(remote.remove, key_of(content))):
                    with pytest.raises(RemoteError, match=r"^this repository is read-only; write access denied$"):
                        await refused()
            else:
                await put(remote, b"new")
                if Mode.APPEND_ONLY in (token_mode, server_mode):
                    with pytest.raises(RemoteError, match=r"^this repository is append-only; removal denied$"):
                        await remote.remove(key_of(content))
                else:
                    assert (await remote.remove(key_of(content))).ok


async def test_tokens_are_in_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(tmp_path) as server:
        async with server.remote() as remote:
            await remote.timestamp()
        for line in (server.auth("wr0ngt0k3n"), server.auth().lower(), server.auth()[:-1] + b" more\n", server.auth()):
            stream = await server.raw(line + b"AUTH again " + server.token.encode() + b"\nERROR bye\n")
            await rest(stream)
            await stream.aclose()
        await logged(caplog, "its token is not valid")
        assert server.grant.id in await logged(caplog, "accepted with token")
    assert server.token not in caplog.text
    assert "wr0ngt0k3n" not in caplog.text
    assert server.token not in repr((server.tokens, server.grant, server.listeners))


async def test_without_tokens_the_file_decides_who_gets_in(tmp_path: Path) -> None:
    store = MemoryStore()
    [listener] = await open_listeners(UnixAddress(tmp_path / "s"), authenticated=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_listeners, [listener], store)

        async def dial() -> Peer:
            return await open_socket_peer(listener.address, authenticated=True)

        async with Remote(dial, store.uuid) as remote:
            await put(remote, b"x")
            await get(remote, b"x")
        nursery.cancel_scope.cancel()


async def test_without_tokens_other_sockets_are_not_served(tmp_path: Path) -> None:
    listeners = await open_listeners(UnixAddress(tmp_path / "s"))
    with pytest.raises(ValueError, match="no client could be accepted"):
        await serve_listeners(listeners, MemoryStore())
    assert not (tmp_path / "s").exists()


# Strangers ------------------------------------------------------------------------------------------------------


async def test_who_never_sends_auth_is_closed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path, limits=Limits(authentication=0.05)) as server:
        stream = await server.raw(b"AUTH a-cli")
        assert await rest(stream) == b""
        await stream.aclose()
        await logged(caplog, "not accepted: no AUTH within 0.05 s")


async def test_strangers_do_not_keep_clients_out(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=Limits(unauthenticated=3, unauthenticated_grace=0.01, connections=2)) as server:
        silent = [await server.raw(b"AUTH") for _ in range(20)]
        async with server.remote() as remote:
            await remote.timestamp()
        for stream in silent[:17]:
            assert await rest(stream) == b""
        for stream in silent:
            await stream.aclose()


async def test_strangers_that_have_time_left_keep_others_waiting(tmp_path: Path) -> None:
    before = count_descriptors()
    async with serving(tmp_path, limits=Limits(unauthenticated=3, unauthenticated_grace=1000)) as server:
        listening = count_descriptors() - before
        silent = [await server.raw(b"AUTH") for _ in range(20)]
        await trio.testing.wait_all_tasks_blocked(0.02)
        # Three, and the one that was accepted to see whether there is room for it.
        assert count_descriptors() == before + listening + len(silent) + 4
        for stream in silent[:18]:
            await stream.aclose()
        async with server.remote() as remote:
            await remote.timestamp()
        for stream in silent[18:]:
            await stream.aclose()


async def test_unauthenticated_clients_stay_connected_while_no_other_waits(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=Limits(unauthenticated=2, unauthenticated_grace=0)) as server:
        slow = [await server.raw(b"AUTH") for _ in range(2)]
        await trio.testing.wait_all_tasks_blocked(0.02)
        for stream in slow:
            await stream.send_all(server.auth()[4:])
            assert (await stream.receive_some()).startswith(b"AUTH-SUCCESS ")
            await stream.aclose()


async def test_a_flood_of_lines_before_auth_is_cut_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path) as server:
        stream = await server.raw()
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(b"CHECKPRESENT WORM--x\n" * 100_000)
        assert (await rest(stream)).count(b"\n") <= 1
        await stream.aclose()
        await logged(caplog, "not accepted: it did not send AUTH: unexpected CHECKPRESENT")


async def test_a_flood_of_bad_lines_from_a_client_is_answered_line_by_line(tmp_path: Path) -> None:
    """A client that does not read its answers is not read from either: nothing piles up in the server."""
    async with serving(tmp_path) as server, server.remote() as other:
        stream = await server.raw(server.auth())
        await stream.receive_some()
        count = 5000

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, b"nonsense\n" * count)
            await other.timestamp()
            received = b""
            while received.count(b"\n") < count:
                received += await stream.receive_some()
        assert received == b"ERROR unknown command\n" * count
        await stream.send_all(b"VERSION 4\n")
        assert await stream.receive_some() == b"VERSION 4\n"
        await stream.aclose()


# Limits and failures --------------------------------------------------------------------------------------------


async def test_more_connections_than_allowed_wait(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=Limits(connections=2, unauthenticated=2)) as server:
        first, second = server.remote(), server.remote()
        await first.timestamp()
        await second.timestamp()
        answered = trio.Event()

        async def third() -> None:
            async with server.remote() as remote:
                await remote.timestamp()
                answered.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(third)
            nursery.start_soon(third)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert not answered.is_set()
            await first.timestamp()
            await first.aclose()
            with trio.fail_after(50):
                await answered.wait()
        await second.aclose()


async def test_who_shows_a_token_when_all_places_are_taken_waits(tmp_path: Path) -> None:
    before = count_descriptors()
    async with serving(tmp_path, limits=Limits(connections=1)) as server:
        streams = [await server.raw() for _ in range(3)]
        await trio.testing.wait_all_tasks_blocked(0.02)
        for stream in streams:
            await stream.send_all(server.auth())
            assert (await stream.receive_some()).startswith(b"AUTH-SUCCESS ")
            await stream.send_all(b"VERSION 4\n")
        first, second, third = streams
        assert await first.receive_some() == b"VERSION 4\n"
        with trio.move_on_after(0.05):
            raise AssertionError(await second.receive_some())
        await first.aclose()
        assert await second.receive_some() == b"VERSION 4\n"
        server.scope.cancel()
        await server.ended.wait()
        assert await rest(third) == b""
        await second.aclose()
        await third.aclose()
    assert count_descriptors() == before


async def test_an_idle_client_is_closed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving(tmp_path, limits=Limits(idle=0.05)) as server:
        stream = await server.raw(server.auth())
        assert await rest(stream) == f"AUTH-SUCCESS {server.store.uuid}\n".encode()
        await stream.aclose()
        await logged(caplog, "did nothing for 0.05 s")


class Buggy(MemoryStore):
    async def timestamp(self) -> int:
        raise LookupError("a bug\nin the store")


async def test_a_bug_ends_one_connection_with_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path, store=Buggy()) as server, server.remote() as other:
        await put(other, b"x")
        with pytest.raises(ConnectionLost):
            await server.remote().timestamp()
        await get(other, b"x")
        message = await logged(caplog, "LookupError")
    assert "\n" not in message
    assert [record.levelname for record in caplog.records if "LookupError" in record.getMessage()] == ["ERROR"]


async def test_clients_that_vanish_in_the_middle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving(tmp_path) as server:
        key = key_of(b"0123456789")
        for last in (b"PUT  %s\nDATA 10\n01234" % key.raw, b"LOCKCONTENT %s\n" % key.raw, b"CHECKPRE"):
            stream = await server.raw(server.auth() + last)
            await stream.receive_some()
            await stream.aclose()
        async with server.remote() as remote:
            await remote.timestamp()
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_no_descriptors_left_is_waited_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(tmp_path) as server:
        assert isinstance(server.address, UnixAddress)
        client = trio.socket.socket(socket.AF_UNIX)
        lowest_free = os.dup(0)
        os.close(lowest_free)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
            await client.connect(server.address.path)
            await logged(caplog, "cannot accept connections, trying again: Too many open files")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await client.send(server.auth())
        with trio.fail_after(50):
            assert (await client.recv(100)).startswith(b"AUTH-SUCCESS ")
        client.close()
    assert len([record for record in caplog.records if "cannot accept" in record.getMessage()]) == 1


async def test_without_descriptors_no_valid_token_is_called_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(tmp_path) as server:
        early, late = await server.raw(b"AUTH a-cl"), await server.raw()
        await trio.testing.wait_all_tasks_blocked(0.02)
        lowest_free = os.dup(0)
        os.close(lowest_free)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
            await early.send_all(server.auth().removeprefix(b"AUTH a-cl"))
            assert await rest(early) == b"ERROR the server cannot verify tokens at the moment; try again later\n"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await logged(caplog, "Too many open files")
        await late.send_all(server.auth())
        assert (await late.receive_some()).startswith(b"AUTH-SUCCESS ")
        await early.aclose()
        await late.aclose()


# The end --------------------------------------------------------------------------------------------------------


async def test_cancelling_leaves_nothing_open(tmp_path: Path) -> None:
    before = count_descriptors()
    async with serving(tmp_path) as server:
        key = key_of(b"x")
        server.store.contents[key] = b"x"
        streams = [await server.raw(b"AUTH"), await server.raw(server.auth("wrong")), await server.raw()]
        for line, answered in (
            (b"", b"AUTH-SUCCESS"),
            (b"VERSION 4\n", b"VERSION 4"),
            (b"PUT  WORM-s10--x\nDATA 10\n01234", b"PUT-FROM 0"),
            (b"LOCKCONTENT %s\n" % key.raw, b"\nSUCCESS"),
        ):
            stream = await server.raw(server.auth() + line)
            received = b""
            while answered not in received:
                received += await stream.receive_some()
            streams.append(stream)
        server.scope.cancel()
        await server.ended.wait()
        for stream in streams:
            assert b"FAILURE" not in await rest(stream)
            await stream.aclose()
    assert count_descriptors() == before
    assert not (tmp_path / "s").exists()
    assert not (await server.store.remove(key)).ok  # cut off is not unlocked


async def test_stopping_lets_requests_end(tmp_path: Path) -> None:
    before = count_descriptors()
    async with serving(tmp_path) as server:
        key = key_of(b"0123456789")
        idle, stranger = await server.raw(server.auth()), await server.raw(b"AUTH")
        await idle.receive_some()
        busy = await server.raw(server.auth() + b"VERSION 4\nPUT  %s\nDATA 10\n01234" % key.raw)
        received = b""
        while not received.endswith(b"PUT-FROM 0\n"):
            received += await busy.receive_some()
        server.stopping.set()
        assert await rest(idle) == b""
        assert await rest(stranger) == b""
        with pytest.raises(OSError):
            await server.raw()
        assert not server.ended.is_set()
        await busy.send_all(b"56789VALID\n")
        assert await rest(busy) == b"SUCCESS\n"
        await server.ended.wait()
        for stream in (idle, stranger, busy):
            await stream.aclose()
    assert server.store.contents == {key: b"0123456789"}
    assert count_descriptors() == before


async def test_stopping_does_not_wait_for_ever(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=Limits(grace=0.05)) as server:
        busy = await server.raw(server.auth() + b"VERSION 4\nPUT  WORM-s10--x\nDATA 10\n01234")
        received = b""
        while not received.endswith(b"PUT-FROM 0\n"):
            received += await busy.receive_some()
        server.stopping.set()
        await server.ended.wait()
        assert await rest(busy) == b""
        await busy.aclose()


# TLS ------------------------------------------------------------------------------------------------------------


async def test_tls_from_end_to_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "chain.pem"))
    tls = server_tls(str(tmp_path / "chain.pem"))
    before = count_descriptors()
    limits = Limits(authentication=0.5)
    async with serving(tmp_path, TcpAddress("127.0.0.1", 0), tls=tls, limits=limits) as server:
        silent = await server.raw()
        plain = await server.raw(server.auth())
        async with server.remote(tls=client_tls(str(tmp_path / "ca.pem"))) as remote:
            content = os.urandom(3_000_000)
            await put(remote, content)
            await get(remote, content)
        assert b"AUTH" not in await rest(plain)
        assert await rest(silent) == b""
        for stream in (silent, plain):
            await stream.aclose()
        assert "TLS failed" in await logged(caplog, "TLS failed")
        await logged(caplog, "no AUTH within 0.5 s")
    assert count_descriptors() == before
    assert all("\n" not in record.getMessage() for record in caplog.records)


class Refusing(MemoryStore):
    """Refuses every upload, and gives no lock."""

    reason = "the disk is full"

    async def put(self, key: Key, file: bytes | None = None) -> Any:
        await trio.lowlevel.checkpoint()
        raise RemoteError(self.reason)


async def test_why_requests_fail_is_logged_once_for_each_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Refusing()
    async with serving(tmp_path, store=store) as server:
        for reason in ("the disk is full", "the disk\nis full", "the disk is full"):
            store.reason = reason
            for _ in range(3):
                async with server.remote() as remote:
                    with pytest.raises(RemoteError, match=r"the disk\sis full"):
                        await put(remote, b"x")
        read_only, _ = server.tokens.create(mode=Mode.READ_ONLY)
        async with server.remote(read_only) as remote:
            for _ in range(2):
                with pytest.raises(RemoteError, match="read-only"):
                    await put(remote, b"x")
    lines = [record.getMessage().partition(": ")[2] for record in caplog.records if record.levelname == "WARNING"]
    assert lines == [
        "a request failed: the disk is full",
        "a request failed: the disk is full",
        "a request failed: this repository is read-only; write access denied",
    ]


async def test_each_listener_whose_clients_need_tokens_needs_them(tmp_path: Path) -> None:
    listeners = [
        *await open_listeners(UnixAddress(tmp_path / "s"), authenticated=True),
        *await open_listeners(TcpAddress("127.0.0.1", 0)),
    ]
    with trio.fail_after(5), pytest.raises(ValueError, match="without tokens"):
        await serve_listeners(listeners, MemoryStore())
