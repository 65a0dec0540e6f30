"""Waiting for calls on sockets: unix, TCP, and TLS over either of them (protocol-spec section 13).

A `SocketListener` accepts connections and makes streams of them; who may say what over these is not its business, with
one exception: of a unix socket the file's permissions can decide who gets in, and then it is `authenticated`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import ssl
import stat
from collections.abc import AsyncIterator

import trio

from p2pannex.errors import RemoteError
from p2pannex.transports.descriptor import DescriptorStream
from p2pannex.transports.sockets import (
    SocketAddress,
    TcpAddress,
    TlsStream,
    UnixAddress,
    check_path,
    over_connected,
    reason,
)

BACKLOG = 4096
"""Connections that may wait to be accepted; the system may have a lower limit (net.core.somaxconn)."""

STARTING = 5.0
"""Seconds to wait for another program that is about to listen in the same directory."""

_GONE = {
    # What accept(2) reports of a connection that failed before it was accepted: its own end, not the listener's.
    errno.ECONNABORTED,
    errno.EPERM,
    errno.EPROTO,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENOPROTOOPT,
    errno.ETIMEDOUT,
}


def server_tls(certificate: str, key: str | None = None) -> ssl.SSLContext:
    """TLS with the certificate chain in the file `certificate` and the private key in `key`, or in the same file (PEM,
    without passphrase). RemoteError where they cannot be used."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # An empty passphrase, or OpenSSL would stop to ask at the terminal.
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:
        raise RemoteError(f"cannot use the certificate {certificate}: {reason(error)}") from error
    return context


async def open_listeners(
    address: SocketAddress,
    *,
    tls: ssl.SSLContext | None = None,
    mode: int = 0o600,
    authenticated: bool = False,
) -> list[SocketListener]:
    """Listen at `address`, which for a host name may mean several. RemoteError where that is not possible.

    With `tls`, from `server_tls` or made to measure, connections are encrypted. A unix socket's file gets `mode`. It
    replaces one that a dead server has left behind, never anything else, and is removed at the end. `authenticated`
    is for unix sockets only: who may open the file needs no token.
    """
    if authenticated and not isinstance(address, UnixAddress):
        raise ValueError("anybody can connect to a TCP socket: it needs tokens")
    try:
        if isinstance(address, UnixAddress):
            return [await _listen_unix(address, tls, mode, authenticated)]
        listeners = await trio.open_tcp_listeners(address.port, host=address.host or None, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        raise RemoteError(f"cannot listen at {address}: {reason(error)}") from error
    found = [socket.socket(fileno=listener.socket.detach()) for listener in listeners]
    return [SocketListener(sock, TcpAddress(*sock.getsockname()[:2]), tls) for sock in found]


async def _listen_unix(
    address: UnixAddress, tls: ssl.SSLContext | None, mode: int, authenticated: bool
) -> SocketListener:
    check_path(address.path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        async with _directory_lock(os.path.dirname(address.path) or b"."):
            _remove_stale(address.path)
            sock.bind(address.path)
            # Nobody can connect before listen(), so nobody gets in on the mode that bind() gave the file.
            os.chmod(address.path, mode)
            sock.listen(BACKLOG)
        return SocketListener(sock, address, tls, authenticated=authenticated)
    except BaseException:
        sock.close()
        raise


@contextlib.asynccontextmanager
async def _directory_lock(directory: bytes) -> AsyncIterator[None]:
    """Of two servers that start at once, the second must not take the first one's socket for a dead one's."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with trio.move_on_after(STARTING) as waiting:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await trio.sleep(0.01)
        if waiting.cancelled_caught:
            raise OSError(errno.EAGAIN, "another program has locked its directory")
        yield
    finally:
        os.close(fd)


def _remove_stale(path: bytes) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "something else has this name")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # its queue is full: it is very much alive
    raise OSError(errno.EADDRINUSE, "another server listens there")


class SocketListener:
    """A socket that accepts connections. Made by `open_listeners`; to be closed with `close`.

    `address` is where it listens, with the port that was found where any would do. `name` is what it is called in logs.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: SocketAddress,
        tls: ssl.SSLContext | None = None,
        *,
        authenticated: bool = False,
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._tls = tls
        self.address = address
        self.name = str(address)
        self.authenticated = authenticated
        self._accepted = 0
        self._file = _identity(address.path) if isinstance(address, UnixAddress) else None

    async def accept(self) -> tuple[DescriptorStream | TlsStream, str]:
        """The next connection, and a name for it. It does no TLS handshake yet: the first use of the stream does.

        OSError where the system has no descriptor or memory left: wait, and call again. ClosedResourceError once
        the listener was closed.
        """
        await trio.lowlevel.checkpoint()
        while True:
            if self._socket.fileno() < 0:
                raise trio.ClosedResourceError("this listener is closed")
            try:
                sock, remote = self._socket.accept()
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)
                continue
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                await trio.lowlevel.checkpoint()
                continue
            stream = over_connected(sock)
            self._accepted += 1
            name = f"{self.name} #{self._accepted}" if sock.family == socket.AF_UNIX else str(TcpAddress(*remote[:2]))
            return (TlsStream(stream, self._tls, server_side=True) if self._tls else stream), name

    def close(self) -> None:
        """Listen no more, and remove the socket's file unless another server has put its own there."""
        if self._socket.fileno() < 0:
            return
        if isinstance(self.address, UnixAddress) and _identity(self.address.path) == self._file:
            with contextlib.suppress(OSError):  # the directory is not ours to change: the next start replaces it
                os.unlink(self.address.path)
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()


def _identity(path: bytes) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
