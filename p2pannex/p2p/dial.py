"""Connecting a client's `StreamPeer` to a server: through a child process, ssh, a socket or a P2P network.

`dialer` turns a parsed URL into a function that opens a new connection at each call. The modules for each kind of
connection are imported when they are used, because importing TLS alone takes as long as importing all the others.
"""

from __future__ import annotations

import functools
import os
import uuid as uuid_module
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import trio

from p2pannex.errors import ConnectionLost
from p2pannex.p2p.handshake import NotAServer
from p2pannex.p2p.peer import PEER_TIMEOUT
from p2pannex.p2p.pool import close
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol.conversation import Side
from p2pannex.protocol.messages import MAX_LINE
from p2pannex.transports.pump import SMALL_BODY
from p2pannex.url_syntax import ExecURL, NetworkURL, SshURL, TcpURL, TlsURL, UnixURL

if TYPE_CHECKING:
    import ssl

    from p2pannex.p2p.remote import Dial
    from p2pannex.transports.network import NetworkAddress
    from p2pannex.transports.sockets import SocketAddress

_NO_SUCH_PROGRAM = (127, 128)
"""Exit statuses of a shell, and of git-shell, that do not know the program."""


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

    `shell` is the program that serves there, or ``P2PANNEX_REMOTE_SHELL`` if it is None. If neither is given, this runs
    p2pannex-shell, then git-annex-shell if that did not serve, and remembers which one did (see
    `p2pannex.transports.remote_shells`). `client_uuid` is the UUID that the client sends; a new one if it is None. The
    other arguments are those of `remote_command`, `ssh_argv` and `open_process_peer`. If ssh cannot connect, this or
    the peer's first wait raises `Unreachable`.
    """
    from p2pannex.transports.ssh import SSH_UNREACHABLE, remote_command, ssh_argv

    client = client_uuid or str(uuid_module.uuid4())

    async def run(program: str) -> StreamPeer:
        return await open_process_peer(
            ssh_argv(host, port, user, remote_command(directory, client, program, uuid=uuid), options=options),
            timeout=timeout,
            describe=host,
            unreachable_status=SSH_UNREACHABLE,
            capture_stderr=capture_stderr,
        )

    program = shell or os.environ.get("P2PANNEX_REMOTE_SHELL")
    if program:
        return await run(program)
    account = (f"{user}@" if user is not None else "") + host + (f":{port}" if port is not None else "")
    return await _run_remote_shell(run, account)


async def _run_remote_shell(run: Callable[[str], Awaitable[StreamPeer]], account: str) -> StreamPeer:
    """Run the programs that may serve on `account`, until one of them does. Returns its peer.

    A program serves if its first line is one of the protocol's. The server sends the first line by itself, so waiting
    for it here takes no round trip of its own.
    """
    from p2pannex.transports.process import ProcessEnded, Unreachable
    from p2pannex.transports.remote_shells import remote_shells

    shells = remote_shells()
    first, second = shells.order(account)
    failures: dict[str, ConnectionLost] = {}
    for program in (first, second):
        peer = await run(program)
        try:
            line = await _first_line(peer)
        except ProcessEnded as error:
            await close(peer)
            if isinstance(error, Unreachable) or error.status is None or error.status < 0:
                raise
            failures[program] = error
        except BaseException:
            await close(peer)
            raise
        else:
            if line.startswith((b"AUTH-", b"ERROR ")):
                shells.remember(account, program)
                return peer
            if program is second:
                return peer  # its first message is an error, which quotes the line
            # Something else printed this, for example a program that allows only some commands: try the other one.
            await close(peer)
            failures[program] = NotAServer(line)
    raise _none_serves(account, failures)


async def _first_line(peer: StreamPeer) -> bytes:
    """The first line that the server sends, or its beginning. The peer still receives it as its first message."""
    line = b""
    with trio.move_on_after(peer.timeout):
        while b"\n" not in line and len(line) < MAX_LINE:
            data = await peer.stream.receive_some(SMALL_BODY)
            peer.connection.receive_data(data)
            line += data
            if not data:
                break
        return line
    raise ConnectionLost(f"the other side did nothing for {peer.timeout:g} s")


def _none_serves(account: str, failures: Mapping[str, ConnectionLost]) -> ConnectionLost:
    """The error if no program serves: those of the programs that ran and refused, if there are any."""
    from p2pannex.transports.process import COMMAND_NOT_FOUND, ProcessEnded
    from p2pannex.transports.remote_shells import SHELLS

    refused: dict[str, str] = {}  # the programs by their errors: equal ones, if both names are one program, count once
    for program, error in failures.items():
        if not (isinstance(error, ProcessEnded) and error.status in _NO_SUCH_PROGRAM):
            refused.setdefault(str(error), program)
    if refused:
        return ProcessEnded("; ".join(f"{program}: {text}" for text, program in refused.items()), None)
    names = " nor ".join(SHELLS)
    return ProcessEnded(
        f"{account} can run neither {names}; install p2pannex there ({failures[SHELLS[0]]})", COMMAND_NOT_FOUND
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
    from p2pannex.transports.sockets import TcpAddress, UnixAddress
    from p2pannex.transports.tls import client_tls

    at: SocketAddress = UnixAddress(url.path) if isinstance(url, UnixURL) else TcpAddress(url.host, url.port)
    tls = client_tls(url.ca) if isinstance(url, TlsURL) else None
    return functools.partial(open_socket_peer, at, tls=tls, timeout=timeout)
