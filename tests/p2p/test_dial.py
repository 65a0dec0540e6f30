"""Connecting to servers, and to none."""

from __future__ import annotations

import socket
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost
from p2pannex.p2p.dial import _none_serves, dialer, open_socket_peer
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.transports.listeners import open_listeners
from p2pannex.transports.process import ProcessEnded
from p2pannex.transports.remote_shells import SHELLS
from p2pannex.transports.sockets import TcpAddress, UnixAddress
from p2pannex.url_syntax import TlsURL, parse_url
from tests.transports.connections import LOOPBACK


async def test_a_full_queue_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(0)
        first = await open_socket_peer(UnixAddress(path))
        with pytest.raises(ConnectionLost, match=r"no connection within 0\.1 s"):
            await open_socket_peer(UnixAddress(path), timeout=0.1)

        peers: list[StreamPeer] = []

        async def call() -> None:
            peers.append(await open_socket_peer(UnixAddress(path), timeout=30))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            assert not peers
            listening.accept()[0].close()
        await peers[0].stream.send_all(b"here")
        accepted, _ = listening.accept()
        assert accepted.recv(10) == b"here"
        accepted.close()
        await peers[0].aclose()
        await first.aclose()


async def test_a_closed_listener() -> None:
    [listener] = await open_listeners(LOOPBACK)
    listener.close()
    with pytest.raises(ConnectionLost) as caught:
        await open_socket_peer(listener.address)
    assert str(caught.value) == f"cannot connect to {listener.address}: Connection refused"
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()


def test_an_error_of_both_shells_is_reported_once() -> None:
    refusal = "server: failed (exit status 1): p2pannex-shell: no such directory"
    both = {program: ProcessEnded(refusal, 1) for program in SHELLS}
    assert str(_none_serves("server", both)) == f"p2pannex-shell: {refusal}"
    other = {**both, "git-annex-shell": ProcessEnded("x", 1)}
    assert str(_none_serves("server", other)) == f"p2pannex-shell: {refusal}; git-annex-shell: x"


async def test_a_tls_url_is_not_connected_to_without_tls() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.send_all(b"AUTH-SUCCESS u\n")

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        url = parse_url(f"tls://127.0.0.1:{listener.socket.getsockname()[1]}")
        assert isinstance(url, TlsURL)
        with pytest.raises(ConnectionLost):
            await dialer(url, client_uuid="client", timeout=60, capture_stderr=False)()
        nursery.cancel_scope.cancel()


async def test_addresses_without_a_listener(tmp_path: Path) -> None:
    with pytest.raises(ConnectionLost, match="No such file or directory"):
        await open_socket_peer(UnixAddress(tmp_path / "s"))
    with pytest.raises(ConnectionLost, match=r"cannot connect to x{70}"):
        await open_socket_peer(TcpAddress("x" * 70, 1))
