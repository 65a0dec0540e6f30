"""Listening on real sockets, unix and TCP."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.p2p.dial import open_socket_peer
from p2pannex.transports.listeners import SocketListener, open_listeners
from p2pannex.transports.sockets import TcpAddress, UnixAddress
from tests.transports.connections import LOOPBACK, connected


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
async def test_the_socket_file_has_its_mode_and_goes_at_close(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "s"
    [listener] = await open_listeners(UnixAddress(path), mode=mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    listener.close()
    assert not path.exists()
    listener.close()


async def test_the_socket_file_is_for_its_owner_unless_told_otherwise(tmp_path: Path) -> None:
    [listener] = await open_listeners(UnixAddress(tmp_path / "s"))
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
    listener.close()


def leave_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


async def test_a_dead_servers_socket_is_replaced(tmp_path: Path) -> None:
    leave_stale(tmp_path / "s")
    [listener] = await open_listeners(UnixAddress(tmp_path / "s"))
    peer, stream = await connected(listener)
    await peer.aclose()
    await stream.aclose()
    listener.close()


async def test_a_living_servers_socket_is_not_replaced(tmp_path: Path) -> None:
    [listener] = await open_listeners(UnixAddress(tmp_path / "s"))
    with pytest.raises(RemoteError, match="another server listens there"):
        await open_listeners(UnixAddress(tmp_path / "s"))
    assert (tmp_path / "s").is_socket()
    listener.close()


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(RemoteError, match="a file that is not a socket has this name"):
        await open_listeners(UnixAddress(tmp_path / "s"))
    assert (tmp_path / "s").read_text() == "precious"


async def test_close_leaves_the_socket_that_another_server_put_there(tmp_path: Path) -> None:
    [first] = await open_listeners(UnixAddress(tmp_path / "s"))
    (tmp_path / "s").unlink()
    [second] = await open_listeners(UnixAddress(tmp_path / "s"))
    first.close()
    assert (tmp_path / "s").is_socket()
    second.close()


async def test_of_servers_that_start_at_once_over_a_stale_socket_one_wins(tmp_path: Path) -> None:
    leave_stale(tmp_path / "s")
    winners: list[SocketListener] = []
    refused = 0

    async def start() -> None:
        nonlocal refused
        try:
            winners.extend(await open_listeners(UnixAddress(tmp_path / "s")))
        except RemoteError:
            refused += 1

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(start)
    assert (len(winners), refused) == (1, 19)
    winners[0].close()


async def test_a_server_that_starts_between_two_looks_keeps_its_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s"
    leave_stale(path)
    os.utime(path, (0, 0))
    rename = os.rename
    with socket.socket(socket.AF_UNIX) as other:

        def late(*args: object, **directories: int) -> None:
            monkeypatch.undo()
            path.unlink()
            other.bind(str(path))
            other.listen()
            rename(*args, **directories)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "rename", late)
        with pytest.raises(RemoteError, match="another server listens there"):
            await open_listeners(UnixAddress(path))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        assert os.listdir(tmp_path) == ["s"]


async def test_another_user_who_locks_the_directory(tmp_path: Path) -> None:
    """Every user can do that to /tmp: it does not keep a server from starting, and no file but the socket is left."""
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    (listener,) = await open_listeners(UnixAddress(tmp_path / "s"))
    assert os.listdir(tmp_path) == ["s"]
    listener.close()
    assert os.listdir(tmp_path) == []
    os.close(other)


async def test_one_of_many_servers_replaces_what_a_dead_one_left(tmp_path: Path) -> None:
    """They are processes, and start at the same time; the one that has the path accepts connections."""
    program = (
        "import sys, trio\n"
        "from p2pannex.transports.listeners import open_listeners\n"
        "from p2pannex.transports.sockets import UnixAddress\n"
        "async def main():\n"
        "    (listener,) = await open_listeners(UnixAddress(sys.argv[1]))\n"
        "    print('listening', flush=True)\n"
        "    await trio.to_thread.run_sync(sys.stdin.read)\n"
        "    listener.close()\n"
        "try:\n    trio.run(main)\nexcept Exception as error:\n    print(error, flush=True)\n"
    )
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    servers = [subprocess.Popen([sys.executable, "-c", program, path], **pipes) for _ in range(4)]  # type: ignore[call-overload]
    first = [server.stdout.readline() for server in servers if server.stdout is not None]
    assert first.count(b"listening\n") == 1, first
    assert all(b"another server listens there" in line for line in first if line != b"listening\n"), first
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    for server in servers:
        server.communicate()
    assert os.listdir(tmp_path) == []


async def test_a_path_that_is_as_long_as_it_may_be(tmp_path: Path) -> None:
    long = tmp_path / ("x" * (107 - len(str(tmp_path)) - 1))
    (listener,) = await open_listeners(UnixAddress(long))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(long))
    listener.close()


async def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    address = UnixAddress(tmp_path / ("x" * 110))
    with pytest.raises(ConnectionLost, match="1 to 107 bytes"):
        await open_socket_peer(address)
    with pytest.raises(RemoteError, match="1 to 107 bytes"):
        await open_listeners(address)


async def test_tcp_everywhere_and_the_port_that_was_found() -> None:
    listeners = await open_listeners(TcpAddress("", 0))
    for listener in listeners:
        assert isinstance(listener.address, TcpAddress)
        assert listener.address.port
        listener.close()


async def test_closing_wakes_who_waits_for_a_connection() -> None:
    [listener] = await open_listeners(LOOPBACK)

    async def accept() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        await trio.testing.wait_all_tasks_blocked()
        listener.close()


async def test_the_port_is_taken() -> None:
    [listener] = await open_listeners(LOOPBACK)
    with pytest.raises(RemoteError, match="Address already in use"):
        await open_listeners(listener.address)
    listener.close()


async def test_only_a_file_can_authenticate() -> None:
    with pytest.raises(ValueError, match="tokens"):
        await open_listeners(LOOPBACK, authenticated=True)
