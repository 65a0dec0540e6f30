"""What URLs say: one line of text, read into what is needed to open it. Nothing is opened here.

The table of them is at the head of `urls.py`, which is where the rest of the house looks for all of this.
"""

from __future__ import annotations

import re
import shlex
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from attrs import frozen

from p2pannex.errors import RemoteError

TOKEN_VARIABLE = "P2PANNEX_TOKEN"  # noqa: S105 - the name of a variable
"""The environment variable with the token for sockets, where none is given otherwise."""

NETWORK_TOKEN_VARIABLE = "GIT_ANNEX_P2P_AUTHTOKEN"  # noqa: S105 - likewise
"""git-annex's name for the same, for P2P networks only."""

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
