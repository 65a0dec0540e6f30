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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from p2pannex.p2p.dial import dialer
from p2pannex.p2p.peer import PEER_TIMEOUT
from p2pannex.p2p.remote import CONNECTIONS, Remote
from p2pannex.protocol.messages import LATEST_VERSION, Auth
from p2pannex.service import Service
from p2pannex.stores.opening import open_directory
from p2pannex.url_syntax import (
    NETWORK_TOKEN_VARIABLE,
    TOKEN_VARIABLE,
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
    import ssl

    from p2pannex.gateways.directory.cluster import GatewayDirectory
    from p2pannex.stores.annex.store import AnnexStore
    from p2pannex.stores.directory import DirectoryStore
    from p2pannex.system.disk_work import DiskWork
    from p2pannex.transports.listeners import SocketListener


def open_local(path: str, *, disk_work: DiskWork | None = None) -> DirectoryStore | AnnexStore | GatewayDirectory:
    """What is in a directory of this machine: a store, as `open_directory`, or a cluster. RemoteError where it is
    neither."""
    from p2pannex.stores.directory_config import is_gateway

    if is_gateway(os.fsencode(path)):
        from p2pannex.gateways.directory.cluster import GatewayDirectory

        return GatewayDirectory(path, functools.partial(open_url, disk_work=disk_work))
    return open_directory(path, disk_work=disk_work)


async def open_url(
    url: str,
    *,
    token: str | None = None,
    timeout: float = PEER_TIMEOUT,
    version: int = LATEST_VERSION,
    client_uuid: str | None = None,
    capture_stderr: bool = False,
    uuid: str | None = None,
    connections: int = CONNECTIONS,
    disk_work: DiskWork | None = None,
) -> Service:
    """The repository that `url` names, connected to; the caller closes it, or uses it as an ``async with`` block.

    Where `uuid` says which repository it is, a remote one is not connected to before it is asked something, and has
    to be that one.

    `token` is for sockets, ``P2PANNEX_TOKEN`` where it is None; for P2P networks, after that,
    ``GIT_ANNEX_P2P_AUTHTOKEN``, or the token that git-annex keeps for them in the repository in which we are.
    `timeout`, in seconds, stands on every wait for a remote one; `version` is the highest protocol version to speak
    with it; `connections` is how many to have at a time; `client_uuid` is whom we say we are, a new one where it is
    None. `capture_stderr` is that of `open_process_peer`, `disk_work` that of `open_directory`.

    InvalidURL, another RemoteError for a directory that is no store, ConnectionLost for a remote that does not answer.
    """
    parsed = parse_url(url)
    if isinstance(parsed, DirectoryURL):
        return open_local(parsed.path, disk_work=disk_work)
    client_uuid = client_uuid or str(uuid_module.uuid4())
    if isinstance(parsed, SshURL | ExecURL):
        credentials = None
    else:
        credentials = _credentials(token, client_uuid)
        if credentials is None and isinstance(parsed, NetworkURL):
            credentials = await _kept_credentials(parsed, client_uuid)
    dial = dialer(parsed, client_uuid=client_uuid, timeout=timeout, capture_stderr=capture_stderr)
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


def _credentials(token: str | None, client_uuid: str, variable: str = TOKEN_VARIABLE) -> Auth | None:
    if token is None:
        token = os.environ.get(variable, "").strip() or None
    if token is None:
        return None
    if not token.isascii() or not token.isalnum():
        raise InvalidURL("the token is not one: tokens have letters and digits only")
    return Auth(client_uuid, token)


async def _kept_credentials(url: NetworkURL, client_uuid: str) -> Auth | None:
    from p2pannex.git_annex.creds import current_git_dir, kept_token

    credentials = _credentials(None, client_uuid, NETWORK_TOKEN_VARIABLE)
    if credentials is None and (git_dir := await current_git_dir()) is not None:
        token = kept_token(git_dir, url.net, url.address)
        return None if token is None else _credentials(token, client_uuid)
    return credentials


@asynccontextmanager
async def listen_at(
    url: str,
    *,
    tls: ssl.SSLContext | None = None,
    directory: str | bytes | os.PathLike[str] | None = None,
) -> AsyncIterator[dict[str, SocketListener]]:
    """Listen at a URL of a unix socket, a TCP or TLS socket, or an address on a P2P network, while the ``async with``
    block runs. `p2pannex.p2p.listen.serve_listeners` serves the listeners.

    Gives the listeners by the URL of each. A host name may have several addresses, and thus several listeners; their
    URLs have the address instead of the name. Where the port in `url` is 0, the system chooses one, and the URLs have
    that one.

    `tls` is for ``tls://`` only, which needs it: `p2pannex.transports.listeners.server_tls` makes one from a
    certificate. `directory` is where the program of a P2P network runs: for a git-annex repository, its top directory.

    InvalidURL for another URL, and for ``tls://`` without `tls`. RemoteError where it is not possible to listen there.
    """
    from p2pannex.transports.listeners import open_listeners
    from p2pannex.transports.sockets import TcpAddress, UnixAddress

    parsed = parse_url(url)
    if isinstance(parsed, NetworkURL):
        from p2pannex.transports.network import NetworkAddress, network_listener

        address = NetworkAddress(parsed.net, parsed.address)
        async with network_listener(address, directory) as listener:
            yield {str(address): listener}
        return
    scheme = ""
    if isinstance(parsed, UnixURL):
        listeners = await open_listeners(UnixAddress(parsed.path))
    elif isinstance(parsed, TlsURL):
        if tls is None:
            raise InvalidURL(f"{url}: listening there needs a certificate")
        scheme = "tls://"
        listeners = await open_listeners(TcpAddress(parsed.host, parsed.port), tls=tls)
    elif isinstance(parsed, TcpURL):
        scheme = "tcp://"
        listeners = await open_listeners(TcpAddress(parsed.host, parsed.port))
    else:
        raise InvalidURL(
            f"cannot listen at {url}; write unix:PATH, tcp://HOST:PORT, tls://HOST:PORT or p2p-annex::NET:ADDRESS"
        )
    try:
        yield {f"{scheme}{listener.address}": listener for listener in listeners}
    finally:
        for listener in listeners:
            listener.close()


__all__ = ["TOKEN_VARIABLE", "listen_at", "open_local", "open_url"]
