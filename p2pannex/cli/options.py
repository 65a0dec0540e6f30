"""Parameters that several commands have: keys, URLs, backends, how to connect, what to print.

trio is imported only when a command needs it, so that ``p2pannex --help`` and completion are fast.
"""

from __future__ import annotations

import functools
import itertools
import os
import sys
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from p2pannex.cli.output import META, Output
from p2pannex.keys.key import InvalidKey, Key, hash_backend_names
from p2pannex.keys.verify import missing_package
from p2pannex.terminal import shortened

if TYPE_CHECKING:
    from p2pannex.service import Service

F = TypeVar("F", bound=Callable[..., Any])

LISTED = 100
"""How many keys completion offers at most."""
SEARCHED = 5000
"""How many keys of the store completion reads at most."""


class KeyType(click.ParamType):  # type: ignore[type-arg]
    """A git-annex key."""

    name = "key"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Key:
        if isinstance(value, Key):
            return value
        try:
            return Key.parse(str(value))
        except InvalidKey as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The keys of the directory store that the command line names; none if it names another kind of repository."""
        from p2pannex.errors import RemoteError
        from p2pannex.stores.directory import DirectoryStore

        url = ctx.params.get("url") or ctx.params.get("source")
        try:
            store = DirectoryStore(str(url))
        except (RemoteError, OSError, ValueError):
            return []
        keys = filter(str.isprintable, map(str, itertools.islice(store.keys(), SEARCHED)))
        return [CompletionItem(key) for key in itertools.islice((k for k in keys if k.startswith(incomplete)), LISTED)]


class UrlType(click.ParamType):  # type: ignore[type-arg]
    """The URL of a repository. It is parsed when the command opens it."""

    name = "url"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        known = ("ssh://", "exec:", "unix:", "tcp://", "tls://", "p2p-annex::")
        schemes = [scheme for scheme in known if scheme.startswith(incomplete)]
        found = [CompletionItem(scheme) for scheme in schemes if incomplete]
        return found or [CompletionItem(incomplete, type="dir")]


class BackendType(click.ParamType):  # type: ignore[type-arg]
    """A backend: how to make the key of a file."""

    name = "backend"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in _backends():
            missing = missing_package(str(value))
            self.fail(missing or f"{value} is not one of {', '.join(_backends())}", param, ctx)
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in _backends() if name.startswith(incomplete.upper())]


def _backends() -> tuple[str, ...]:
    return (*hash_backend_names(), "WORM")


KEY = KeyType()
URL = UrlType()
BACKEND = BackendType()


class ConnectionOptions:
    """Opens URLs with the options of the command line. None means `open_url`'s default; `timeout` is in seconds.

    `token` is for one server: `servers` are those that the command line names and gives no other token for. If they
    are several, each has to have a token of its own (see `p2pannex.server_tokens`).
    """

    def __init__(
        self, token: str | None, timeout: float | None, version: int | None, servers: Collection[str] = ()
    ) -> None:
        self.token = token
        self.servers = sorted(set(servers))
        self.settings: dict[str, Any] = {}
        if timeout is not None:
            self.settings["timeout"] = timeout
        if version is not None:
            self.settings["version"] = version

    @asynccontextmanager
    async def open(self, url: str, *, token: str | None = None, **more: Any) -> AsyncIterator[Service]:
        """Open the repository at `url`, and close it at the end. `more` are further arguments of `open_url`."""
        from p2pannex.errors import ConnectionLost
        from p2pannex.urls import open_url

        # On a terminal, ssh's messages go straight to the user, who may have to act (touch a security key). Otherwise
        # they become part of the error's text, so that an error stays one line.
        capture = not sys.stderr.isatty()
        try:
            token = token or self._token_for(url)
            service = await open_url(url, token=token, capture_stderr=capture, **self.settings, **more)
        except ConnectionLost as error:
            if url not in str(error):
                error.add_note(shortened(url, 80))
            raise
        async with service:
            yield service

    def _token_for(self, url: str) -> str | None:
        from p2pannex.child_environment import NETWORK_TOKEN_VARIABLE
        from p2pannex.server_tokens import token_for
        from p2pannex.url_syntax import TOKEN_VARIABLE

        server = _server(url)
        if server is None:
            return None
        if self.servers == [server]:
            if self.token or not server.startswith("p2p-annex:"):
                return self.token  # if it is None, `open_url` looks for a saved one
            return token_for(server) or os.environ.get(NETWORK_TOKEN_VARIABLE, "").strip() or None
        if self.token is not None and token_for(server) is None:
            raise click.UsageError(
                f"--token and {TOKEN_VARIABLE} are for one server, and this command names {len(self.servers)}: "
                f"{', '.join(self.servers)}; save the token of each: p2pannex token save URL"
            )
        return None


def _server(url: str) -> str | None:
    """The server that the URL names, if it is one that needs a token."""
    from p2pannex.url_syntax import InvalidURL, parse_url, server_of

    try:
        return server_of(parse_url(url))
    except InvalidURL:
        return None  # opening it will raise the error


OTHER_TOKENS = {"target": "to_token", "holder": "holder_token"}
"""Parameters of commands that are URLs, and the options with a token for that URL alone."""


def _servers() -> list[str]:
    """The servers that the command line names, but for those with an option that has a token for them alone."""
    context = click.get_current_context()
    urls = {param.name: context.params.get(param.name or "") for param in context.command.params if param.type is URL}
    return [
        server
        for name, url in urls.items()
        if url and not context.params.get(OTHER_TOKENS.get(name or "", "")) and (server := _server(url)) is not None
    ]


def connects(command: F) -> F:
    """Add the options of commands that take URLs; the function gets them as `connection`."""

    @click.option(
        "--token",
        envvar="P2PANNEX_TOKEN",
        show_envvar=True,
        metavar="TOKEN",
        help="The token for the one server on a socket or P2P network that the command names. Other users can see "
        "command lines, so better use the variable, or save it: p2pannex token save URL.",
    )
    @click.option(
        "--timeout",
        envvar="P2PANNEX_TIMEOUT",
        show_envvar=True,
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="How long to wait for the other side to do anything.  [default: 60]",
    )
    @click.option(
        "--protocol-version",
        type=click.IntRange(0, 4),
        metavar="0-4",
        help="The highest protocol version to use.  [default: 4]",
    )
    @functools.wraps(command)
    def wrapped(
        *args: Any, token: str | None, timeout: float | None, protocol_version: int | None, **rest: Any
    ) -> object:
        token = (token or "").strip() or None
        return command(*args, connection=ConnectionOptions(token, timeout, protocol_version, _servers()), **rest)

    return wrapped  # type: ignore[return-value]


def prints(command: F) -> F:
    """Add the options of commands that print; the function gets them as `output`."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
    @click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
    @functools.wraps(command)
    def wrapped(*args: Any, as_json: bool, quiet: bool, **rest: Any) -> object:
        output = Output(as_json=as_json, quiet=quiet)
        click.get_current_context().meta[META] = output
        return command(*args, output=output, **rest)

    return wrapped  # type: ignore[return-value]


def text_of(path: bytes | str) -> str:
    """A file name as text. `os.fsencode` turns it back into the same bytes."""
    return os.fsdecode(path)
