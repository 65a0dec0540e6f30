"""Calling over sockets: unix, TCP, and TLS over either of them (protocol-spec section 13).

A socket does not tell which program is at its other end, so the client opens the conversation with AUTH. The other side
is `p2pannex.transports.listeners`.
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
from p2pannex.transports.descriptor import DescriptorStream

MAX_PATH = 107
"""Bytes that a unix socket's path may have."""

BACKLOG_PAUSE = 0.01
"""Seconds between two attempts to connect to a unix socket whose queue is full: it cannot be waited for."""

TURNS = 16
"""Reads and writes after which a socket lets others go first."""

GOODBYE = 5.0
"""Seconds that TLS may take to say that it closes."""

TLS_READ = 64 * 1024
"""Bytes asked of TLS at once; it never gives more than a record, 16 KiB."""

_TCP_OPTIONS = {
    # A client whose machine vanished is noticed within minutes, not the system's two hours.
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
    """A host name or address, without brackets, and a port. To listen: an empty host is all of this machine's
    addresses, port 0 one that is free."""

    host: str
    port: int = field(validator=[validators.ge(0), validators.le(65535)])

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


SocketAddress = UnixAddress | TcpAddress


def client_tls(ca_file: str | None = None) -> ssl.SSLContext:
    """What a client demands of a server: a certificate for its host name, by an authority that this machine trusts,
    or by one of those in `ca_file` (PEM) and nobody else. ConnectionLost where that file cannot be used."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ConnectionLost(f"cannot use the certificates in {ca_file}: {reason(error)}") from error


async def open_socket(
    address: SocketAddress,
    *,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
    timeout: float,
) -> DescriptorStream | TlsStream:
    """Connect, within `timeout` seconds, TLS handshake included. ConnectionLost if not. The caller closes the stream.

    With `tls`, made by `client_tls` or otherwise, the connection is encrypted; the certificate must be for
    `server_name`, or the host's name where that is not given.
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
        raise ConnectionLost(f"cannot connect to {address}: nothing happened for {timeout:g} s")
    except BaseException:
        if stream is not None:
            await trio.aclose_forcefully(stream)
        raise


@contextlib.contextmanager
def _refusals(address: SocketAddress) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeError, trio.BrokenResourceError) as error:
        raise ConnectionLost(f"cannot connect to {address}: {reason(error)}") from error


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
    """OSError for a path that no unix socket can have."""
    if not 0 < len(path) <= MAX_PATH:
        raise OSError(f"the path of a unix socket has at most {MAX_PATH} bytes, this one has {len(path)}")


def over_connected(sock: socket.socket) -> DescriptorStream:
    """A stream over a connected socket, which it owns, set up for short lines and far sides that vanish."""
    if sock.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):  # it is gone already: the first read will tell
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _TCP_OPTIONS.items():
                if hasattr(socket, name):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return FairStream.over_socket(sock)


class FairStream(DescriptorStream):
    """A socket's stream that lets the other tasks run now and then, however fast its far side is.

    A `DescriptorStream` yields only where it has to wait. That is quick, but a client that always has the next line
    ready, and reads every answer at once, would keep a server of many from everybody else.
    """

    _turns = TURNS

    async def _in_turn(self) -> None:
        self._turns -= 1
        if self._turns < 0:
            self._turns = TURNS
            await trio.lowlevel.checkpoint()

    async def receive_into(self, view: memoryview) -> int:
        await self._in_turn()
        return await super().receive_into(view)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await self._in_turn()
        return await super().receive_some(max_bytes)

    def receive_nowait(self) -> bytes | None:
        if self._turns <= 0:
            return None  # receive_some is called then, which lets the others run
        self._turns -= 1
        return super().receive_nowait()

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        if self._turns <= 0:
            return 0  # send_all is called then, which lets the others run
        self._turns -= 1
        return super().send_nowait(data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._in_turn()
        await super().send_all(data)

    async def send_file(self, source: int, offset: int, count: int) -> int:
        await self._in_turn()
        return await super().send_file(source, offset, count)


def reason(error: BaseException) -> str:
    """Why, in a few words: the system's, from the bottom of what trio and ssl put on top of them."""
    if isinstance(error, BaseExceptionGroup):
        return reason(error.exceptions[0])
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid here: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or error.strerror or 'no reason given').replace('_', ' ').lower()}"
    if error.__cause__ is not None and not (isinstance(error, OSError) and error.errno):
        return reason(error.__cause__)
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    if isinstance(error, OSError) and error.errno and error.errno > 0 and text.endswith(os.strerror(error.errno)):
        return os.strerror(error.errno)  # trio repeats the address in front of it
    return text


class TlsStream(trio.abc.Stream):
    """TLS over a stream: trio's, with reasons in its errors, and a close that neither lingers nor fails."""

    def __init__(
        self,
        transport: DescriptorStream,
        context: ssl.SSLContext,
        *,
        server_name: str | None = None,
        server_side: bool = False,
    ) -> None:
        self._transport = transport
        # Some releases of Python (3.11.2 is one) have OpenSSL take a connection that was cut for one that said goodbye.
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        self._tls = trio.SSLStream(transport, context, server_hostname=server_name, server_side=server_side)
        self._shaken = False

    async def do_handshake(self) -> None:
        """Agree on the encryption. Sending or receiving does it too."""
        with _tls_errors():
            await self._tls.do_handshake()
        self._shaken = True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send all of `data`."""
        if not self._shaken:
            await self.do_handshake()
        with _tls_errors():
            await self._tls.send_all(data)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """At least one byte; empty after the far side's goodbye. A connection cut without one is broken."""
        if not self._shaken:
            await self.do_handshake()
        with _tls_errors():
            return await self._tls.receive_some(TLS_READ if max_bytes is None else min(max_bytes, TLS_READ))

    async def wait_send_all_might_not_block(self) -> None:
        await self._tls.wait_send_all_might_not_block()

    def at_end(self) -> bool:
        """Whether the far side has closed, or sent something while nothing was asked of it, as far as is known now."""
        return self._transport.at_end()

    async def aclose(self) -> None:
        """Say goodbye if that can be done at once, and close."""
        try:
            if self._shaken:
                with trio.move_on_after(GOODBYE):
                    await self._tls.aclose()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # there is nobody left to take leave of
        finally:
            self._transport.close()
        await trio.lowlevel.checkpoint_if_cancelled()


@contextlib.contextmanager
def _tls_errors() -> Iterator[None]:
    try:
        yield
    except trio.BrokenResourceError as error:
        raise trio.BrokenResourceError(reason(error)) from error
