"""URLs of repositories: `open_url` opens the one that a URL names, as a `Service`.

======================================  ===========================================================================
``DIR``                                 a directory store or a git-annex repository on this machine
``ssh://[USER@]HOST[:PORT]/DIR``        through ssh; ``/~/DIR`` is in the home directory there. ``?shell=PROGRAM`` is
                                        the serving program (default: p2pannex-shell or, where that does not serve,
                                        git-annex-shell), ``?uuid=UUID`` the repository's expected UUID
``exec:COMMAND``                        a program that serves on its standard input and output, run without a shell
``unix:PATH``                           a unix socket
``tcp://HOST:PORT``                     a TCP socket, without encryption
``tls://HOST:PORT``                     TLS over TCP; ``?ca=FILE`` has the authorities to trust (PEM) instead of the
                                        system's
``p2p-annex::NET:ADDRESS``              a P2P network, through the program ``git-annex-p2p-NET``
======================================  ===========================================================================

In the forms with ``//``, special characters are percent-encoded. Servers on sockets and P2P networks require a token.
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
from p2pannex.server_tokens import checked_token, token_for
from p2pannex.service import Service
from p2pannex.stores.opening import open_directory
from p2pannex.url_syntax import (
    AnyURL,
    DirectoryURL,
    InvalidURL,
    NetworkURL,
    SshURL,
    TcpURL,
    TlsURL,
    UnixURL,
    parse_url,
    server_of,
)

if TYPE_CHECKING:
    import ssl

    from p2pannex.gateways.directory.cluster import GatewayDirectory
    from p2pannex.stores.annex.store import AnnexStore
    from p2pannex.stores.directory import DirectoryStore
    from p2pannex.system.disk_work import DiskWork
    from p2pannex.transports.listeners import SocketListener


def open_local(path: str, *, disk_work: DiskWork | None = None) -> DirectoryStore | AnnexStore | GatewayDirectory:
    """Open a directory on this machine: a store or a git-annex repository (see `open_directory`), or the gateway of a
    cluster. RemoteError if it is none of these."""
    from p2pannex.stores.directory_config import is_gateway

    if is_gateway(os.fsencode(path)):
        from p2pannex.gateways.directory.cluster import GatewayDirectory

        return GatewayDirectory(path, functools.partial(open_url, disk_work=disk_work, capture_stderr=True))
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
    """Open the repository that `url` names. The caller closes it, or uses it as an ``async with`` block.

    A remote repository is connected to at once, unless `uuid` is given. With `uuid` it is connected to at the first
    request, which raises WrongRepository if the repository has another UUID.

    `token` is for sockets and P2P networks. If it is None, the token is the one that this user has for the server that
    `url` names (see `p2pannex.server_tokens`); for a P2P network, the token that git-annex keeps in the repository of
    the current directory comes next. A token for another server is never sent.

    `timeout`, in seconds, limits every wait for a remote repository. `version` is the highest protocol version to use
    with it. `connections` is how many connections may be in use at a time. `client_uuid` is the UUID that the client
    sends; a new one if it is None.
    `capture_stderr` is that of `open_process_peer`, `disk_work` that of `open_directory`.

    InvalidURL; another RemoteError for a directory that is not a repository; ConnectionLost if a remote repository
    cannot be reached.
    """
    parsed = parse_url(url)
    if isinstance(parsed, DirectoryURL):
        return open_local(parsed.path, disk_work=disk_work)
    client_uuid = client_uuid or str(uuid_module.uuid4())
    credentials = await _credentials(parsed, token, client_uuid)
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


async def _credentials(url: AnyURL, token: str | None, client_uuid: str) -> Auth | None:
    """What to authenticate with: `token` or, if it is None, the token of that server. None if there is none."""
    server = server_of(url)
    if server is None:
        return None
    if token is None:
        token = token_for(server)
    if token is None and isinstance(url, NetworkURL):
        from p2pannex.git_annex.creds import current_git_dir, kept_token

        git_dir = await current_git_dir()
        token = None if git_dir is None else kept_token(git_dir, url.net, url.address)
    return None if token is None else Auth(client_uuid, checked_token(token))


@asynccontextmanager
async def listen_at(
    url: str,
    *,
    tls: ssl.SSLContext | None = None,
    directory: str | bytes | os.PathLike[str] | None = None,
) -> AsyncIterator[dict[str, SocketListener]]:
    """Listen at a URL of a unix socket, a TCP or TLS socket, or an address on a P2P network, while the ``async with``
    block runs. `p2pannex.p2p.listen.serve_listeners` serves the listeners.

    The block gets a dict of the listeners by their URLs. A host name may have several addresses, and thus several
    listeners; their URLs contain the address instead of the name. If the port in `url` is 0, the system chooses a port,
    and the URLs contain that one.

    `tls` is for ``tls://`` only, which needs it: `p2pannex.transports.listeners.server_tls` makes one from a
    certificate. `directory` is where the program of a P2P network runs: for a git-annex repository, its top directory.

    InvalidURL for another URL, and for ``tls://`` without `tls`. RemoteError if it is not possible to listen there.
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


__all__ = ["listen_at", "open_local", "open_url"]
