"""The tokens that this user has for servers. A token belongs to one server, and is sent to no other.

A line names the server by its URL, then the token; empty lines and lines that start with ``#`` are ignored::

    tls://server.example.com:7000 4b8g0k...
    unix:/run/photos.sock 9x2mqv...

The lines are in the variable ``P2PANNEX_TOKENS``, or in the file ``$XDG_CONFIG_HOME/p2pannex/tokens`` (by default in
``~/.config``). The variable comes first. The file is used only if it belongs to this user and no other user can access
it. `p2pannex.url_syntax.server_of` says which URLs name the same server: what it returns is compared, in full.
"""

from __future__ import annotations

import os
import stat

from p2pannex.errors import RemoteError
from p2pannex.system.durability import replace_file
from p2pannex.system.file_locks import sole_writer
from p2pannex.system.user_directories import config_directory
from p2pannex.url_syntax import InvalidURL, parse_url, server_of

TOKENS_VARIABLE = "P2PANNEX_TOKENS"
"""The environment variable with lines of a URL and a token."""

_MAX_FILE = 1 << 20


class UnusableTokens(RemoteError):
    """The file or the variable with the tokens cannot be used: it is malformed, or others can read the file."""


def checked_token(token: str) -> str:
    """The token, if it can be one. InvalidURL, without the token in it, if not."""
    if not token.isascii() or not token.isalnum():
        raise InvalidURL("this is not a token: a token has letters and digits only")
    return token


def token_for(server: str) -> str | None:
    """The token for `server`, which `server_of` returned; None if there is none. UnusableTokens if they cannot be read.

    It reads a small file, and blocks while it does.
    """
    given = _parse(os.environ.get(TOKENS_VARIABLE, ""), f"the variable {TOKENS_VARIABLE}")
    if server in given:
        return given[server]
    return _read().get(server)


def save_token(url: str, token: str) -> str:
    """Write the token for the server at `url` into the file. Returns the server. InvalidURL if `url` needs no token."""
    server = _named(url)
    token = checked_token(token)
    _change(server, token)
    return server


def forget_token(url: str) -> bool:
    """Delete the token for the server at `url` from the file. Whether there was one."""
    return _change(_named(url), None)


def tokens_path() -> str:
    """The path of the file with the tokens."""
    return os.path.join(config_directory(), "tokens")


def _named(url: str) -> str:
    server = server_of(parse_url(url))
    if server is None:
        raise InvalidURL(f"{url}: no token is sent there; only sockets and P2P networks need one")
    return server


def _change(server: str, token: str | None) -> bool:
    path = os.fsencode(tokens_path())
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with sole_writer(path):
            lines = _text().splitlines()
            kept = [line for line in lines if _server(line) != server]
            added = [] if token is None else [f"{server} {token}"]
            replace_file(path, os.fsencode("".join(f"{line}\n" for line in kept + added)))
    except OSError as error:
        raise UnusableTokens(f"cannot write {os.fsdecode(path)}: {error.strerror}") from error
    return len(kept) < len(lines)


def _server(line: str) -> str | None:
    """The server that a line names; None if it is malformed or a comment."""
    try:
        return next(iter(_parse(line, "")), None)
    except UnusableTokens:
        return None


def _read() -> dict[str, str]:
    return _parse(_text(), tokens_path())


def _text() -> str:
    path = tokens_path()
    try:
        # O_NONBLOCK: opening a named pipe must not wait for its other end.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise UnusableTokens(f"cannot read {path}: {error.strerror}") from error
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise UnusableTokens(f"{path} is not a regular file")
        if status.st_uid != os.geteuid():
            raise UnusableTokens(f"{path} has tokens, and belongs to another user; make one of your own")
        if status.st_mode & 0o077:
            raise UnusableTokens(f"{path} has tokens, and other users can access it; run: chmod 600 {path}")
        content = file.read(_MAX_FILE + 1)
    if len(content) > _MAX_FILE:
        raise UnusableTokens(f"{path} is too large")
    return os.fsdecode(content)


def _parse(text: str, where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        url, _, token = line.rpartition(" ")
        try:
            found.setdefault(_named(url.strip()), checked_token(token))
        except InvalidURL:  # its text may quote the token
            raise UnusableTokens(f"{where}: line {number} is not a URL of a server, a space and a token") from None
    return found


__all__ = [
    "TOKENS_VARIABLE",
    "UnusableTokens",
    "checked_token",
    "forget_token",
    "save_token",
    "token_for",
    "tokens_path",
]
