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
import re
import shlex
import uuid as uuid_module
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from attrs import frozen

from p2pannex.peer import TIMEOUT, Peer
from p2pannex.protocol.errors import RemoteError
from p2pannex.protocol.messages import LATEST_VERSION, Auth
from p2pannex.remote import CONNECTIONS, Dial, Remote
from p2pannex.service import Service

if TYPE_CHECKING:
    from p2pannex.stores.annex import AnnexStore
    from p2pannex.stores.directory import DirectoryStore

TOKEN_VARIABLE = "P2PANNEX_TOKEN"  # noqa: S105 - the name of a variable
"""The environment variable with the token for sockets, where none is given otherwise."""

NETWORK_TOKEN_VARIABLE = "GIT_ANNEX_P2P_AUTHTOKEN"  # noqa: S105 - likewise
"""git-annex's name for the same, looked at for P2P networks only."""

KNOWN = (
    "a directory, ssh://HOST/DIR, exec:COMMAND, unix:PATH, tcp://HOST:PORT, tls://HOST:PORT or p2p-annex::NET:ADDRESS"
)


class InvalidURL(RemoteError, ValueError):
    """The text names no repository, or one of a kind that is not supported."""


@frozen
class DirectoryURL:
    """A directory store, or a git-annex repository, on this machine."""

    path: str


@frozen
class SshURL:
    """A repository served by a program that ssh starts. `directory` is absolute, or begins with ``/~/``."""

    host: str
    directory: str
    port: int | None = None
    user: str | None = None
    shell: str | None = None
    uuid: str | None = None


@frozen
class ExecURL:
    """A repository served by a child process."""

    argv: tuple[str, ...]


@frozen
class UnixURL:
    """A repository served on a unix socket."""

    path: str


@frozen
class TcpURL:
    """A repository served on a TCP socket."""

    host: str
    port: int


@frozen
class TlsURL(TcpURL):
    """A repository served with TLS. `ca` is a file of certificates to trust instead of the system's."""

    ca: str | None = None


@frozen
class NetworkURL:
    """A repository on a P2P network that the program ``git-annex-p2p-NET`` knows."""

    net: str
    address: str


AnyURL = DirectoryURL | SshURL | ExecURL | UnixURL | TcpURL | NetworkURL


def parse_url(url: str) -> AnyURL:
    """What a URL says. InvalidURL, in one line that tells what to write instead."""
    if "\0" in url or "\n" in url:
        raise InvalidURL("a URL has neither line ends nor NULs in it")
    if not url:
        raise InvalidURL(f"empty URL; write {KNOWN}")
    if url.startswith("exec:"):
        return _exec(url)
    if url.startswith("unix:"):
        path = url.removeprefix("unix:")
        if not path or path.startswith("//"):
            raise InvalidURL(f"{url}: write unix:PATH, with the path of the socket")
        return UnixURL(path)
    if url.startswith("p2p-annex:"):
        return _network(url)
    if "://" not in url:
        return DirectoryURL(url)
    scheme = url.partition("://")[0]
    if scheme not in ("ssh", "tcp", "tls"):
        raise InvalidURL(f"{url}: {scheme}:// is not supported; write {KNOWN}")
    try:
        parts = urlsplit(url)
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # for errors: without what may be secret
        port = parts.port
        host = _host(parts)
    except ValueError as error:
        raise InvalidURL(f"{url}: {error}") from error
    if parts.fragment:
        raise InvalidURL(f"{url}: write %23 for a # in a URL")
    if not host or host.startswith("-") or any(character.isspace() for character in host):
        raise InvalidURL(f"{url}: there is no host in it")
    return _ssh(url, parts, host, port) if scheme == "ssh" else _socket(url, parts, host, port)


def _host(parts: SplitResult) -> str:
    """The host as it was written: urlsplit lowers its case, and to ssh's configuration that is another name."""
    host = parts.hostname or ""
    start = parts.netloc.lower().rfind(host)
    return unquote(parts.netloc[start : start + len(host)], errors="surrogateescape")


def _exec(url: str) -> ExecURL:
    try:
        argv = tuple(shlex.split(url.removeprefix("exec:")))
    except ValueError as error:
        raise InvalidURL(f"{url}: {str(error).lower()}") from error
    if not argv:
        raise InvalidURL("exec: of which command? Write exec:COMMAND")
    return ExecURL(argv)


def _network(url: str) -> NetworkURL:
    from p2pannex.transports.network import SCHEME, NetworkAddress

    if re.search(r":[0-9a-f]{128}$", url):  # what git-annex p2p --gen-addresses prints: it must not be shown to anybody
        raise InvalidURL(
            f"there is a token at the end of this {SCHEME} URL; take it away, and put it into {TOKEN_VARIABLE}"
        )
    net, _, address = url.removeprefix(SCHEME).partition(":")
    try:
        if not url.startswith(SCHEME):
            raise ValueError("a colon is missing")
        NetworkAddress(net, address)
    except ValueError as error:
        raise InvalidURL(f"{url}: {error}; write {SCHEME}NET:ADDRESS") from error
    return NetworkURL(net, address)


def _ssh(url: str, parts: SplitResult, host: str, port: int | None) -> SshURL:
    if parts.password is not None:
        raise InvalidURL("a password in an ssh URL is not supported; ssh asks for it, or better: use a key")
    user = None if parts.username is None else unquote(parts.username, errors="surrogateescape")
    if user is not None and (not user or user.startswith("-")):
        raise InvalidURL(f"{url}: the user's name is not one")
    if parts.path in ("", "/"):
        raise InvalidURL(f"{url}: of which directory? Write ssh://{host}/DIR")
    query = _query(url, parts, "shell", "uuid")
    directory = unquote(parts.path, errors="surrogateescape")
    return SshURL(host, directory, port, user, query.get("shell"), query.get("uuid"))


def _socket(url: str, parts: SplitResult, host: str, port: int | None) -> TcpURL:
    if parts.username is not None or parts.password is not None:
        raise InvalidURL(f"no names or secrets in a {parts.scheme} URL; the token goes into {TOKEN_VARIABLE}")
    if port is None:
        raise InvalidURL(f"{url}: which port? Write {parts.scheme}://{host}:PORT")
    if parts.path not in ("", "/"):
        raise InvalidURL(f"{url}: a {parts.scheme} URL has no path")
    if parts.scheme == "tcp":
        _query(url, parts)
        return TcpURL(host, port)
    return TlsURL(host, port, _query(url, parts, "ca").get("ca"))


def _query(url: str, parts: SplitResult, *known: str) -> dict[str, str]:
    query = dict(parse_qsl(parts.query, keep_blank_values=True, errors="surrogateescape"))
    for name, value in query.items():
        if name not in known or not value:
            allowed = " and ".join(f"?{each}=VALUE" for each in known) or "nothing"
            raise InvalidURL(f"{url}: after the ? can stand {allowed}, not {name}={value}")
    return query


def open_directory(path: str) -> DirectoryStore | AnnexStore:
    """The store in a directory of this machine. RemoteError where there is none."""
    from p2pannex.stores.directory import DirectoryStore, NotAStore

    try:
        return DirectoryStore(path)
    except NotAStore:
        from p2pannex.stores.annex_config import looks_like_git

        if not os.path.exists(os.path.join(path, "p2pannex.toml")) and looks_like_git(os.fsencode(path)):
            from p2pannex.stores.annex import AnnexStore

            return AnnexStore(path)
        if ":" in path and not os.path.exists(path):
            raise InvalidURL(f"{path}: there is no such directory; write {KNOWN}") from None
        raise


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
) -> Service:
    """The repository that `url` names, connected to; the caller closes it, or uses it as an ``async with`` block.

    Where `uuid` says which repository it is, a remote one is not connected to before it is asked something, and has
    to be that one.

    `token` is for sockets, ``P2PANNEX_TOKEN`` where it is None; for P2P networks, after that,
    ``GIT_ANNEX_P2P_AUTHTOKEN``, or the token that git-annex keeps for them in the repository in which we are.
    `timeout`, in seconds, stands on every wait for a remote one; `version` is the highest protocol version to speak
    with it; `client_uuid` is whom we say we are, a new one where it is None. `capture_stderr` is that of
    `open_process_peer`. `connections` is how many a remote one may have to serve at a time.

    InvalidURL, another RemoteError for a directory that is no store, ConnectionLost for a remote that does not answer.
    """
    parsed = parse_url(url)
    if isinstance(parsed, DirectoryURL):
        return _open_local(parsed.path)
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
    if uuid is not None:
        return Remote(dial, uuid, version=version, credentials=credentials, timeout=timeout, connections=connections)
    uuid = parsed.uuid if isinstance(parsed, SshURL) else None
    return await Remote.open(
        dial, uuid, version=version, credentials=credentials, timeout=timeout, connections=connections
    )


def _open_local(path: str) -> Service:
    from p2pannex.stores.identity import is_gateway

    if is_gateway(os.fsencode(path)):
        from p2pannex.gateway_directory import GatewayDirectory

        return GatewayDirectory(path, open_url)
    return open_directory(path)


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
    "open_url",
    "parse_url",
]
