"""Listening on sockets: unix, TCP, and TLS over either of them (protocol-spec section 13).

A `SocketListener` accepts connections and turns them into streams. Its user checks tokens, with one exception: if the
file permissions of a unix socket decide which clients may connect, the listener is `authenticated`.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import secrets
import socket
import ssl
import stat
import struct
from typing import Any

import trio
from attrs import frozen

from p2pannex.errors import RemoteError
from p2pannex.transports.connect_errors import reason
from p2pannex.transports.descriptor import DescriptorStream
from p2pannex.transports.sockets import SocketAddress, TcpAddress, UnixAddress, check_path, over_connected
from p2pannex.transports.tls import TlsStream

BACKLOG = 4096
"""How many connections may wait to be accepted. The system may have a lower limit (net.core.somaxconn)."""

NAMING_ATTEMPTS = 20
"""How often a unix socket is given its path, while other servers start and stop there."""

_GONE = {
    # accept(2) reports these if a connection failed before it was accepted. The listener is not affected.
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
    """A server's TLS settings. The certificate chain is in the file `certificate`, the private key in `key` or in the
    same file (PEM, without passphrase). RemoteError if they cannot be used."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # Without a password argument, OpenSSL would prompt at the terminal for the passphrase.
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
    relayed: bool = False,
) -> list[SocketListener]:
    """Listen at `address`. A host name may have several addresses, each with its own listener. The caller closes them.

    With `tls`, for example from `server_tls`, connections are encrypted. The file of a unix socket gets the permissions
    `mode`. It replaces the file that a dead server has left, but no other file, and is deleted when the listener is
    closed. `authenticated` is for unix sockets only: clients that can open the file need no token. `relayed`: a program
    connects for all clients, so the address of a connection is not known.

    RemoteError if it is not possible to listen there.
    """
    if authenticated and not isinstance(address, UnixAddress):
        raise ValueError("any client can connect to a TCP socket, so it requires tokens")
    try:
        if isinstance(address, UnixAddress):
            return [await _listen_unix(address, tls, mode, authenticated, relayed)]
        listeners = await trio.open_tcp_listeners(address.port, host=address.host or None, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        raise RemoteError(f"cannot listen at {address}: {reason(error)}") from error
    found = [socket.socket(fileno=listener.socket.detach()) for listener in listeners]
    return [SocketListener(sock, TcpAddress(*sock.getsockname()[:2]), tls, relayed=relayed) for sock in found]


async def _listen_unix(
    address: UnixAddress, tls: ssl.SSLContext | None, mode: int, authenticated: bool, relayed: bool
) -> SocketListener:
    """Listen under a name of our own first, then give the socket its path: so it never has one that nothing listens at.

    No lock is needed for that, and none of the directory is used: in /tmp every user could hold it.
    """
    await trio.lowlevel.checkpoint()
    check_path(address.path)
    directory, name = os.path.split(address.path)
    at = os.open(directory or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    own = b".p2pannex-" + secrets.token_hex(8).encode()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Through /proc, because the path of a socket is limited to 107 bytes, and this name may be longer than its own.
        sock.bind(b"/proc/self/fd/%d/%b" % (at, own))
        try:
            # The permissions that bind() gave the file do no harm, because no client can connect before listen().
            os.chmod(own, mode, dir_fd=at)
            sock.listen(BACKLOG)
            _name_socket(at, own, name, address.path)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(own, dir_fd=at)
        return SocketListener(sock, address, tls, authenticated=authenticated, relayed=relayed)
    except BaseException:
        sock.close()
        raise
    finally:
        os.close(at)


def _name_socket(at: int, own: bytes, name: bytes, path: bytes) -> None:
    """Link the socket `own` to `name`, both in the directory `at`, after the socket that a dead server left there.

    OSError if another server listens there, or the name is that of another file.
    """
    for _ in range(NAMING_ATTEMPTS):
        try:
            os.link(own, name, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
            return
        except FileExistsError:
            stale = _stale(at, name, path)
        if stale is None:
            continue
        # Moved away, not deleted: another server may have replaced it since it was looked at. That one gets it back.
        old = own + b".old"
        with contextlib.suppress(FileNotFoundError):
            os.rename(name, old, src_dir_fd=at, dst_dir_fd=at)
            moved = os.stat(old, dir_fd=at, follow_symlinks=False)
            if _made(moved) != stale:
                with contextlib.suppress(FileExistsError):
                    os.link(old, name, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
            os.unlink(old, dir_fd=at)
    raise OSError(errno.EADDRINUSE, "other servers start there all the time")


def _made(status: os.stat_result) -> tuple[int, int, int]:
    """Which socket it is. A new one may get the inode of one that was removed, but is made later."""
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _stale(at: int, name: bytes, path: bytes) -> tuple[int, int, int] | None:
    """The socket that a dead server has left; None if there is none. OSError if it is another file, or
    a server listens there."""
    try:
        status = os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISSOCK(status.st_mode):
        raise OSError(errno.EEXIST, "a file that is not a socket has this name")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return _made(status)
        except FileNotFoundError:
            return None
        except BlockingIOError:
            pass  # the queue of its server is full, so the server is alive
    raise OSError(errno.EADDRINUSE, "another server listens there")


@frozen
class Client:
    """Where a connection comes from. `name` is its name in logs.

    `address` is the same for all connections of one client: the account that has connected to a unix socket, an IPv4
    address, or the first 64 bits of an IPv6 address, which one customer has for many machines. None if it is not known.
    """

    name: str
    address: str | None


def _client_address(sock: socket.socket, remote: Any) -> str | None:
    if sock.family == socket.AF_UNIX:
        try:
            _, uid, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        except OSError:
            return None
        return f"uid {uid}"
    address = ipaddress.ip_address(remote[0].partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))


class SocketListener:
    """A socket that accepts connections. Created by `open_listeners`; the caller closes it with `close`.

    `address` is where it listens; if port 0 was requested, it has the port that the system chose. `name` is its name in
    logs.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: SocketAddress,
        tls: ssl.SSLContext | None = None,
        *,
        authenticated: bool = False,
        relayed: bool = False,
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._tls = tls
        self.address = address
        self.name = str(address)
        self.authenticated = authenticated
        self._relayed = relayed
        self._accepted = 0
        self._file = _identity(address.path) if isinstance(address, UnixAddress) else None

    async def accept(self) -> tuple[DescriptorStream | TlsStream, Client]:
        """The next connection, and its client. The TLS handshake takes place at the first use of the stream.

        OSError if the system has no descriptor or memory left: wait and call again. ClosedResourceError if the listener
        is closed.
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
            client = Client(name, None if self._relayed else _client_address(sock, remote))
            return (TlsStream(stream, self._tls, server_side=True) if self._tls else stream), client

    def close(self) -> None:
        """Stop listening. Delete the file of a unix socket, unless another server has replaced it."""
        if self._socket.fileno() < 0:
            return
        if isinstance(self.address, UnixAddress) and _identity(self.address.path) == self._file:
            with contextlib.suppress(OSError):  # no permission to delete it; the next server replaces it
                os.unlink(self.address.path)
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()


def _identity(path: bytes) -> tuple[int, int, int] | None:
    try:
        return _made(os.lstat(path))
    except OSError:
        return None
