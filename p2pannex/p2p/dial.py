"""Connecting a client's `StreamPeer` to a server: through a child process, ssh, a socket or a P2P network.

`dialer` turns a parsed URL into a function that opens a new connection at each call. The modules for each kind of
connection are imported when they are used, because importing TLS alone takes as long as importing all the others.
"""

from __future__ import annotations

import functools
import uuid as uuid_module
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from p2pannex.p2p.peer import PEER_TIMEOUT, StreamPeer
from p2pannex.protocol.conversation import Side
from p2pannex.url_syntax import ExecURL, NetworkURL, SshURL, TcpURL, TlsURL, UnixURL

if TYPE_CHECKING:
    import ssl

    from p2pannex.p2p.remote import Dial
    from p2pannex.transports.network import NetworkAddress
    from p2pannex.transports.sockets import SocketAddress


async def open_process_peer(
    argv: Sequence[str | bytes],
    *,
    timeout: float = PEER_TIMEOUT,
    env: Mapping[str, str] | None = None,
    describe: str | None = None,
    unreachable_status: int | None = None,
    capture_stderr: bool = False,
    authenticated: bool = True,
) -> StreamPeer:
    """Start a program that serves the protocol on its standard input and output. Returns the client's peer.

    `timeout`, in seconds, limits every wait of the peer. `authenticated` is false if the program only relays to a
    server that requires a token. The other arguments, and the errors, are those of
    `p2pannex.transports.process.open_process`. The caller closes the peer with ``aclose()``.
    """
    from p2pannex.transports.process import open_process

    stream = await open_process(
        argv, env=env, describe=describe, unreachable_status=unreachable_status, capture_stderr=capture_stderr
    )
    return StreamPeer(stream, Side.CLIENT, authenticated=authenticated, timeout=timeout)


async def open_ssh_peer(
    host: str,
    directory: str,
    *,
    port: int | None = None,
    user: str | None = None,
    uuid: str | None = None,
    client_uuid: str | None = None,
    shell: str | None = None,
    options: Sequence[str] = (),
    timeout: float = PEER_TIMEOUT,
    capture_stderr: bool = False,
) -> StreamPeer:
    """Connect through ssh to the repository in `directory` on `host`. The caller closes the peer.

    `client_uuid` is the UUID that the client sends; a new one if it is None. The other arguments are those of
    `remote_command`, `ssh_argv` and `open_process_peer`. If ssh cannot connect, the peer's first wait raises
    `Unreachable`.
    """
    from p2pannex.transports.ssh import SSH_UNREACHABLE, remote_command, ssh_argv

    command = remote_command(directory, client_uuid or str(uuid_module.uuid4()), uuid=uuid, shell=shell)
    return await open_process_peer(
        ssh_argv(host, port, user, command, options=options),
        timeout=timeout,
        describe=host,
        unreachable_status=SSH_UNREACHABLE,
        capture_stderr=capture_stderr,
    )


async def open_socket_peer(
    address: SocketAddress,
    *,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
    authenticated: bool = False,
    timeout: float = PEER_TIMEOUT,
) -> StreamPeer:
    """Connect to the server at `address`. The caller closes the peer.

    `timeout`, in seconds, limits connecting (TLS handshake included) and every wait of the peer. `authenticated` is
    true for a server that accepts every client which can reach the socket: the server sends AUTH-SUCCESS without AUTH.
    `tls` and `server_name`, and the errors, are those of `p2pannex.transports.sockets.open_socket`.
    """
    from p2pannex.transports.sockets import open_socket

    stream = await open_socket(address, tls=tls, server_name=server_name, timeout=timeout)
    return StreamPeer(stream, Side.CLIENT, authenticated=authenticated, timeout=timeout)


async def open_network_peer(
    address: NetworkAddress, *, timeout: float = PEER_TIMEOUT, capture_stderr: bool = False
) -> StreamPeer:
    """Connect to the repository at `address` on a P2P network, which requires a token. The caller closes the peer.

    `timeout` and `capture_stderr`, and the errors, are those of `open_process_peer`.
    """
    return await open_process_peer(
        [address.program, address.address], timeout=timeout, capture_stderr=capture_stderr, authenticated=False
    )


def dialer(
    url: SshURL | ExecURL | NetworkURL | UnixURL | TcpURL, *, client_uuid: str, timeout: float, capture_stderr: bool
) -> Dial:
    """A function that opens a new connection to `url` at each call.

    `timeout` and `capture_stderr` are those of the ``open_..._peer`` function that it calls.
    """
    if isinstance(url, SshURL):
        return functools.partial(
            open_ssh_peer,
            url.host,
            url.directory,
            port=url.port,
            user=url.user,
            uuid=url.uuid,
            client_uuid=client_uuid,
            shell=url.shell,
            timeout=timeout,
            capture_stderr=capture_stderr,
        )
    if isinstance(url, ExecURL):
        return functools.partial(open_process_peer, url.argv, timeout=timeout, capture_stderr=capture_stderr)
    if isinstance(url, NetworkURL):
        from p2pannex.transports.network import NetworkAddress

        address = NetworkAddress(url.net, url.address)
        return functools.partial(open_network_peer, address, timeout=timeout, capture_stderr=capture_stderr)
    from p2pannex.transports.sockets import TcpAddress, UnixAddress, client_tls

    at: SocketAddress = UnixAddress(url.path) if isinstance(url, UnixURL) else TcpAddress(url.host, url.port)
    tls = client_tls(url.ca) if isinstance(url, TlsURL) else None
    return functools.partial(open_socket_peer, at, tls=tls, timeout=timeout)
