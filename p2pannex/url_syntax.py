"""Parsing of the URLs that name repositories. Nothing is opened here.

The head of `urls.py` lists the forms of a URL. Each form has a class below, with the parts that are needed to open it.
"""

from __future__ import annotations

import os
import re
import shlex
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from attrs import astuple, frozen

from p2pannex.errors import RemoteError

TOKEN_VARIABLE = "P2PANNEX_TOKEN"  # noqa: S105 - the name of a variable
"""The environment variable with the token for the one server that a command names."""

KNOWN = (
    "a directory, ssh://HOST/DIR, HOST:DIR, exec:COMMAND, unix:PATH, tcp://HOST:PORT, tls://HOST:PORT or "
    "p2p-annex::NET:ADDRESS"
)


class InvalidURL(RemoteError, ValueError):
    """The text is not a URL of a repository, or its scheme is not supported."""


@frozen
class DirectoryURL:
    """A directory store, a gateway directory or a git-annex repository on this machine."""

    path: str


@frozen
class SshURL:
    """A repository served by a program that ssh starts. `directory` is absolute, or starts with ``/~/``."""

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
    """A repository served on a TCP socket with TLS. `ca` is a file of certificates to trust instead of the system's."""

    ca: str | None = None


@frozen
class NetworkURL:
    """A repository on a P2P network, reached through the program ``git-annex-p2p-NET``."""

    net: str
    address: str


_UNUSABLE = re.compile("[\0\n]")

_NO_LINES = "a URL cannot contain line breaks or NULs, percent-encoded or not"

AnyURL = DirectoryURL | SshURL | ExecURL | UnixURL | TcpURL | NetworkURL


def server_of(url: AnyURL) -> str | None:
    """The server of a URL that needs a token, in one spelling: tokens belong to it. None if no token is sent there.

    The scheme is a part of it: a token for ``tls://`` is not sent to ``tcp://``, where others can read it.
    """
    if isinstance(url, UnixURL):
        return f"unix:{os.path.abspath(url.path)}"
    if isinstance(url, TcpURL):
        host = url.host.lower()
        shown = f"[{host}]" if ":" in host else host
        return f"{'tls' if isinstance(url, TlsURL) else 'tcp'}://{shown}:{url.port}"
    if isinstance(url, NetworkURL):
        return f"p2p-annex::{url.net}:{url.address}"
    return None


def parse_url(url: str) -> AnyURL:
    """The parts of a URL. InvalidURL, whose text is one line and says what to write instead.

    No part contains a line break or a NUL, percent-encoded or not: parts become paths, arguments and lines.
    """
    parsed = None if _UNUSABLE.search(url) else _parse(url)
    if parsed is None or any(isinstance(part, str) and _UNUSABLE.search(part) for part in astuple(parsed)):
        raise InvalidURL(_NO_LINES)
    return parsed


def _parse(url: str) -> AnyURL:
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
        # As in git, a directory that exists comes before a host of that name.
        found = None if (url[0].isalpha() and url[1:2] == ":") or os.path.exists(url) else scp_like(url)
        return DirectoryURL(url) if found is None else found
    if url.startswith(("file:///", "file://localhost/")):
        return DirectoryURL(url.removeprefix("file://").removeprefix("localhost"))
    scheme = url.partition("://")[0]
    safe = _without_secrets(url)
    if scheme not in ("ssh", "tcp", "tls"):
        raise InvalidURL(f"{safe}: {scheme}:// is not supported; write {KNOWN}")
    try:
        parts = urlsplit(url)
        host = _host(parts)
    except ValueError:  # its text may quote a password
        raise InvalidURL(f"{safe}: the host is neither a name nor an IPv6 address in brackets") from None
    try:
        port = parts.port
    except ValueError:
        raise InvalidURL(f"{safe}: the port is not a number below 65536") from None
    url = safe  # for error texts
    if parts.fragment:
        raise InvalidURL(f"{url}: write %23 for a # in a URL")
    if not host or host.startswith("-") or any(character.isspace() for character in host):
        raise InvalidURL(f"{url}: the host is missing or not valid")
    return _ssh(url, parts, host, port) if scheme == "ssh" else _socket(url, parts, host, port)


def _without_secrets(url: str) -> str:
    """The URL for error texts: without what may contain a secret, which is the user's part and the query."""
    scheme, _, rest = url.partition("#")[0].partition("?")[0].partition("://")
    authority, slash, path = rest.partition("/")
    if "@" in path and ":" in authority:  # a password with a / in it
        authority, slash, path = rest.rpartition("@")[2].partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


_SCP_LIKE = re.compile(
    r"(?:(?P<user>[^@/:\[\]]+)@)?(?:\[(?:(?P<user_inside>[^@/\]]+)@)?(?P<inside>[^/\]]+)\]|(?P<host>[^@/:\[\]\s]+)):(?P<path>.+)"
)


def scp_like(url: str) -> SshURL | None:
    """``[USER@]HOST:PATH``, which git takes for ssh too; None if it is not one.

    HOST may be in brackets, with a port or an IPv6 address: ``[HOST:PORT]:PATH``, ``[::1]:PATH``. A relative path
    starts in the home directory there. As in git, nothing is percent-encoded.
    """
    match = _SCP_LIKE.fullmatch(url)
    if match is None:
        return None
    host, port, path = match["inside"] or match["host"], None, match["path"]
    if match["inside"] and host.count(":") == 1:
        host, _, number = host.partition(":")
        if not number.isdecimal() or len(number) > 5 or not 0 < int(number) < 65536:
            return None
        port = int(number)
    user = match["user"] or match["user_inside"]
    if host.startswith("-") or (user or "").startswith("-"):
        raise InvalidURL(f"{url}: the host or the user's name is not valid")
    if not path.startswith("/"):
        path = f"/{path}" if path.startswith("~") else f"/~/{path}"
    return SshURL(host, path, port, user)


def _host(parts: SplitResult) -> str:
    """The host with upper and lower case as written. urlsplit lowers it, but ssh's configuration distinguishes case."""
    host = parts.hostname or ""
    start = parts.netloc.lower().rfind(host)
    return unquote(parts.netloc[start : start + len(host)], errors="surrogateescape")


def _exec(url: str) -> ExecURL:
    try:
        argv = tuple(shlex.split(url.removeprefix("exec:")))
    except ValueError as error:
        raise InvalidURL(f"{url}: {str(error).lower()}") from error
    if not argv:
        raise InvalidURL("exec: the command is missing; write exec:COMMAND")
    return ExecURL(argv)


def _network(url: str) -> NetworkURL:
    from p2pannex.transports.network import SCHEME, NetworkAddress

    if re.search(r":[0-9a-f]{128}$", url):  # git-annex p2p --gen-addresses prints a token there, which is secret
        raise InvalidURL(f"this {SCHEME} URL ends with a token; remove the token and put it into {TOKEN_VARIABLE}")
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
        raise InvalidURL("an ssh URL cannot contain a password; use a key, or let ssh prompt for the password")
    user = None if parts.username is None else unquote(parts.username, errors="surrogateescape")
    if user is not None and (not user or user.startswith("-")):
        raise InvalidURL(f"{url}: the user's name is empty or starts with -")
    if parts.path in ("", "/"):
        raise InvalidURL(f"{url}: the directory is missing; write ssh://{host}/DIR")
    query = _query(url, parts, "shell", "uuid")
    directory = unquote(parts.path, errors="surrogateescape")
    return SshURL(host, directory, port, user, query.get("shell"), query.get("uuid"))


def _socket(url: str, parts: SplitResult, host: str, port: int | None) -> TcpURL:
    if parts.username is not None or parts.password is not None:
        raise InvalidURL(f"a {parts.scheme} URL cannot contain a user or a secret; put the token into {TOKEN_VARIABLE}")
    if port is None:
        raise InvalidURL(f"{url}: the port is missing; write {parts.scheme}://{host}:PORT")
    if parts.path not in ("", "/"):
        raise InvalidURL(f"{url}: a {parts.scheme} URL has no path")
    if parts.scheme == "tcp":
        _query(url, parts)
        return TcpURL(host, port)
    return TlsURL(host, port, _query(url, parts, "ca").get("ca"))


def _query(url: str, parts: SplitResult, *known: str) -> dict[str, str]:
    query = dict(parse_qsl(parts.query, keep_blank_values=True, errors="surrogateescape"))
    for name, value in query.items():
        if _UNUSABLE.search(name + value):
            raise InvalidURL(_NO_LINES)
        if name not in known or not value:
            allowed = " and ".join(f"?{each}=VALUE" for each in known) or "none"
            raise InvalidURL(f"{url}: {name}= is not a valid parameter; allowed parameters: {allowed}")
    return query
