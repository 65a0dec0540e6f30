"""Names for repositories, and how each is opened: one line of text to a `Service`.

======================================  ===========================================================================
``DIR``                                 a directory store or a git-annex repository on this machine
``ssh://[USER@]HOST[:PORT]/DIR``        through ssh; ``/~/DIR`` is in the home directory there. ``?shell=PROGRAM`` is
                                        the serving program (git-annex-shell), ``?uuid=UUID`` the repository expected
``exec:COMMAND``                        a program that serves on its standard input and output, run without a shell
``unix:PATH``                           a unix socket
``tcp://HOST:PORT``                     a TCP socket: not encrypted
``tls://HOST:PORT``                     TLS over TCP; ``?ca=FILE`` is the authority (PEM) instead of the system's
``p2p-annex::NET:ADDRESS``              a P2P network, through the program ``git-annex-p2p-NET``
======================================  ===========================================================================

In those with ``//``, what is special in a URL is written with ``%``. Sockets and P2P networks want a token.
"""

from __future__ import annotations

import functools
import os
import uuid as uuid_module
from typing import TYPE_CHECKING, Any

from p2pannex.peer import TIMEOUT, Peer
from p2pannex.protocol.messages import LATEST_VERSION, Auth
from p2pannex.remote import CONNECTIONS, Dial, Remote
from p2pannex.service import Service
from p2pannex.url_syntax import (
    KNOWN,
    TOKEN_VARIABLE,
    AnyURL,
    DirectoryURL,
    ExecURL,
    InvalidURL,
    NetworkURL,
    SshURL,
    TcpURL,
    TlsURL,
    UnixURL,
    parse_url,
)

if TYPE_CHECKING:
    from p2pannex.gateway_directory import GatewayDirectory
    from p2pannex.stores.annex import AnnexStore
    from p2pannex.stores.directory import DirectoryStore

NETWORK_TOKEN_VARIABLE = "GIT_ANNEX_P2P_AUTHTOKEN"  # noqa: S105 - likewise
"""git-annex's name for the same, looked at for P2P networks only."""


def open_directory(path: str, *, one_of_several: bool = False) -> DirectoryStore | AnnexStore:
    """The store in a directory of this machine. RemoteError where there is none.

    `one_of_several` says that this process serves one client and no other, by several stores at the same time.
    """
    from p2pannex.stores.directory import DirectoryStore, NotAStore

    try:
        return DirectoryStore(path, single_client=one_of_several, one_of_several=one_of_several)
    except NotAStore:
        from p2pannex.stores.annex_config import looks_like_git

        if not os.path.exists(os.path.join(path, "p2pannex.toml")) and looks_like_git(os.fsencode(path)):
            from p2pannex.stores.annex import AnnexStore

            return AnnexStore(path, single_client=one_of_several, one_of_several=one_of_several)
        if ":" in path and not os.path.exists(path):
            raise InvalidURL(f"{path}: there is no such directory; write {KNOWN}") from None
        raise


def open_local(path: str, *, one_of_several: bool = False) -> DirectoryStore | AnnexStore | GatewayDirectory:
    """What is in a directory of this machine: a store, as `open_directory`, or a cluster. RemoteError where it is
    neither."""
    from p2pannex.stores.identity import is_gateway

    if is_gateway(os.fsencode(path)):
        from p2pannex.gateway_directory import GatewayDirectory

        return GatewayDirectory(path, open_url)
    return open_directory(path, one_of_several=one_of_several)


async def open_url(
    url: str,
    *,
    token: str | None = None,
    timeout: float = TIMEOUT,
    version: int = LATEST_VERSION,
    client_uuid: str | None = None,
    capture_stderr: bool = False,
    uuid: str | None = None,
    connections: int = CONNECTIONS,
    one_of_several: bool = False,
) -> Service:
    """The repository that `url` names, connected to; the caller closes it, or uses it as an ``async with`` block.

    Where `uuid` says which repository it is, a remote one is not connected to before it is asked something, and has
    to be that one.

    `token` is for sockets, ``P2PANNEX_TOKEN`` where it is None; for P2P networks, after that,
    ``GIT_ANNEX_P2P_AUTHTOKEN``, or the token that git-annex keeps for them in the repository in which we are.
    `timeout`, in seconds, stands on every wait for a remote one; `version` is the highest protocol version to speak
    with it; `connections` is how many to have at a time; `client_uuid` is whom we say we are, a new one where it is
    None. `capture_stderr` is that of `open_process_peer`, `one_of_several` that of `open_directory`.

    InvalidURL, another RemoteError for a directory that is no store, ConnectionLost for a remote that does not answer.
    """
    parsed = parse_url(url)
    if isinstance(parsed, DirectoryURL):
        return open_local(parsed.path, one_of_several=one_of_several)
    client_uuid = client_uuid or str(uuid_module.uuid4())
    credentials: Auth | None = None
    dial: Dial
    if isinstance(parsed, SshURL | ExecURL):
        dial = functools.partial(_dial_program, parsed, client_uuid, timeout, capture_stderr)
    elif isinstance(parsed, NetworkURL):
        credentials = _credentials(token, client_uuid) or await _kept_credentials(parsed, client_uuid)
        dial = _network_dial(parsed, timeout, capture_stderr)
    else:
        credentials = _credentials(token, client_uuid)
        dial = _socket_dial(parsed, timeout)
    settings: dict[str, Any] = {
        "version": version,
        "credentials": credentials,
        "timeout": timeout,
        "connections": connections,
    }
    if uuid is not None:
        return Remote(dial, uuid, **settings)
    uuid = parsed.uuid if isinstance(parsed, SshURL) else None
    return await Remote.open(dial, uuid, **settings)


async def _dial_program(url: SshURL | ExecURL, client_uuid: str, timeout: float, capture_stderr: bool) -> Peer:
    if isinstance(url, SshURL):
        from p2pannex.transports.ssh import open_ssh_peer

        return await open_ssh_peer(
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
    from p2pannex.transports.process import open_process_peer

    return await open_process_peer(url.argv, timeout=timeout, capture_stderr=capture_stderr)


def _credentials(token: str | None, client_uuid: str, variable: str = TOKEN_VARIABLE) -> Auth | None:
    if token is None:
        token = os.environ.get(variable, "").strip() or None
    if token is None:
        return None
    if not token.isascii() or not token.isalnum():
        raise InvalidURL("the token is not one: tokens have letters and digits only")
    return Auth(client_uuid, token)


async def _kept_credentials(url: NetworkURL, client_uuid: str) -> Auth | None:
    from p2pannex.creds import current_git_dir, kept_token

    credentials = _credentials(None, client_uuid, NETWORK_TOKEN_VARIABLE)
    if credentials is None and (git_dir := await current_git_dir()) is not None:
        token = kept_token(git_dir, url.net, url.address)
        return None if token is None else _credentials(token, client_uuid)
    return credentials


def _network_dial(url: NetworkURL, timeout: float, capture_stderr: bool) -> Dial:
    from p2pannex.transports.network import NetworkAddress, open_network_peer

    address = NetworkAddress(url.net, url.address)
    return functools.partial(open_network_peer, address, timeout=timeout, capture_stderr=capture_stderr)


def _socket_dial(url: UnixURL | TcpURL, timeout: float) -> Dial:
    from p2pannex.transports.sockets import SocketAddress, TcpAddress, UnixAddress, client_tls, open_socket_peer

    address: SocketAddress = UnixAddress(url.path) if isinstance(url, UnixURL) else TcpAddress(url.host, url.port)
    tls = client_tls(url.ca) if isinstance(url, TlsURL) else None
    return functools.partial(open_socket_peer, address, tls=tls, timeout=timeout)


__all__ = [
    "TOKEN_VARIABLE",
    "AnyURL",
    "DirectoryURL",
    "ExecURL",
    "InvalidURL",
    "NetworkURL",
    "SshURL",
    "TcpURL",
    "TlsURL",
    "UnixURL",
    "open_directory",
    "open_local",
    "open_url",
    "parse_url",
]
