"""Connecting to sockets: unix, TCP, and TLS over either of them (protocol-spec section 13).

A socket does not authenticate the client, so the client starts the conversation with AUTH. For the server's side see
`p2pannex.transports.listeners`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator

import trio
from attrs import field, frozen, validators

from p2pannex.errors import ConnectionLost
from p2pannex.transports.connect_errors import is_permanent, reason
from p2pannex.transports.descriptor import DescriptorStream
from p2pannex.transports.tls import TlsStream

MAX_PATH = 107
"""The longest path of a unix socket, in bytes."""

BACKLOG_PAUSE = 0.01
"""Seconds between two attempts to connect to a unix socket whose queue is full. The system cannot wait for that."""

TURNS = 16
"""How many reads and writes a socket makes before it lets other tasks run."""

_TCP_OPTIONS = {
    # Detect within two minutes, not in the system's two hours, that the other machine has disappeared while we wait for
    # it. While bytes wait to be sent, the system notices it by itself (tcp_retries2, a quarter of an hour).
    # TCP_USER_TIMEOUT would be faster, but it also ends the connection to a machine that confirms every probe while its
    # program reads nothing, for example because it hashes what it has got.
    "TCP_NODELAY": 1,
    "TCP_KEEPIDLE": 60,
    "TCP_KEEPINTVL": 15,
    "TCP_KEEPCNT": 4,
}


@frozen
class UnixAddress:
    """A unix socket in the file system."""

    path: bytes = field(converter=os.fsencode)

    def __str__(self) -> str:
        return "unix:" + os.fsdecode(self.path)


@frozen
class TcpAddress:
    """A host name or address, without brackets, and a port. For listening, an empty host means all addresses of this
    machine, and port 0 any free port."""

    host: str
    port: int = field(validator=[validators.ge(0), validators.le(65535)])

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


SocketAddress = UnixAddress | TcpAddress


async def open_socket(
    address: SocketAddress,
    *,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
    timeout: float,
) -> DescriptorStream | TlsStream:
    """Connect within `timeout` seconds, TLS handshake included, or raise ConnectionLost. The caller closes the stream.

    With `tls`, for example from `client_tls`, the connection is encrypted, and the server's certificate must be for
    `server_name`, or for the host name if `server_name` is None.
    """
    stream: DescriptorStream | TlsStream | None = None
    if tls is not None and server_name is None:
        if isinstance(address, UnixAddress):
            raise ValueError("TLS over a unix socket needs a server_name")
        server_name = address.host
    try:
        with _refusals(address), trio.move_on_after(timeout):
            stream = await _connect(address)
            if tls is not None:
                stream = TlsStream(stream, tls, server_name=server_name)
                await stream.do_handshake()
            return stream
        raise ConnectionLost(f"cannot connect to {address}: no connection within {timeout:g} s")
    except BaseException:
        if stream is not None:
            await trio.aclose_forcefully(stream)
        raise


@contextlib.contextmanager
def _refusals(address: SocketAddress) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeError, trio.BrokenResourceError) as error:
        raise ConnectionLost(f"cannot connect to {address}: {reason(error)}", permanent=is_permanent(error)) from error


async def _connect(address: SocketAddress) -> DescriptorStream:
    if isinstance(address, UnixAddress):
        return DescriptorStream.over_socket(await _connect_unix(address.path))
    tcp = await trio.open_tcp_stream(address.host, address.port)
    return over_connected(socket.socket(fileno=tcp.socket.detach()))


async def _connect_unix(path: bytes) -> socket.socket:
    check_path(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        while True:
            try:
                sock.connect(path)
            except BlockingIOError:
                await trio.sleep(BACKLOG_PAUSE)
            else:
                return sock
    except BaseException:
        sock.close()
        raise


def check_path(path: bytes) -> None:
    """OSError if the path is empty, or too long for a unix socket."""
    if not 0 < len(path) <= MAX_PATH:
        raise OSError(f"the path of a unix socket must have 1 to {MAX_PATH} bytes, this one has {len(path)}")


def over_connected(sock: socket.socket) -> DescriptorStream:
    """A stream over a connected socket, which it owns. TCP sends short lines immediately and detects a dead machine."""
    if sock.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):  # the connection is broken already: the first read reports it
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _TCP_OPTIONS.items():
                if hasattr(socket, name):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return FairStream.over_socket(sock)


class FairStream(DescriptorStream):
    """A socket's stream that lets other tasks run after some reads and writes, however fast the other side is.

    A `DescriptorStream` lets other tasks run only if it has to wait, which is fast. But a client that always has the
    next line ready, and reads every reply immediately, would keep a server from serving any other client.
    """

    _turns = TURNS

    async def _take_turn(self) -> None:
        self._turns -= 1
        if self._turns < 0:
            self._turns = TURNS
            await trio.lowlevel.checkpoint()

    async def receive_into(self, view: memoryview) -> int:
        await self._take_turn()
        return await super().receive_into(view)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await self._take_turn()
        return await super().receive_some(max_bytes)

    def receive_nowait(self) -> bytes | None:
        if self._turns <= 0:
            return None  # the caller then calls receive_some, which lets other tasks run
        self._turns -= 1
        return super().receive_nowait()

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        if self._turns <= 0:
            return 0  # the caller then calls send_all, which lets other tasks run
        self._turns -= 1
        return super().send_nowait(data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._take_turn()
        await super().send_all(data)

    async def send_file(self, source: int, offset: int, count: int) -> int:
        await self._take_turn()
        return await super().send_file(source, offset, count)
