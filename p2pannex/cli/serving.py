"""`p2pannex serve` and `p2pannex proxy`.

`serve` serves a store or a cluster on sockets and P2P networks. `proxy` serves the repository at a URL, either on
sockets and P2P networks or on standard input and output.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from p2pannex.cli import exit_codes
from p2pannex.cli.errors import complain
from p2pannex.cli.log_lines import LogLine
from p2pannex.cli.options import URL, ConnectionOptions, connects, prints
from p2pannex.cli.output import Output

if TYPE_CHECKING:
    import ssl

    import trio

    from p2pannex.access import Mode, TokenFile
    from p2pannex.p2p.limits import Limits
    from p2pannex.p2p.listen import Tokens
    from p2pannex.service import Service
    from p2pannex.transports.listeners import SocketListener
    from p2pannex.url_syntax import NetworkURL

log = logging.getLogger(__name__)

LOCAL = ("127.0.0.1", "::1", "localhost")
"""Hosts on which a TCP socket needs no encryption: only clients on this machine reach it."""

CONNECTIONS = 1000
"""How many connections a proxy on sockets may have to its repository: each of its clients may need one."""

F = TypeVar("F", bound=Callable[..., Any])


class _Settings(NamedTuple):
    """The options of commands that serve. `memory` is in mebibytes."""

    mode: Mode
    limited: bool
    tls_cert: str | None
    tls_key: str | None
    connections: int | None
    per_token: int | None
    per_address: int | None
    memory: int | None


def _listens(*, required: bool) -> Callable[[F], F]:
    """Add the options of commands that serve; the function gets them as `urls` and `settings`."""

    def decorate(command: F) -> F:
        @click.option(
            "--listen",
            "urls",
            metavar="URL",
            multiple=True,
            required=required,
            help="Where: unix:PATH, tcp://HOST:PORT, tls://HOST:PORT or p2p-annex::NET:ADDRESS. Port 0 means any free "
            "port. May be repeated.",
        )
        @click.option("--read-only", is_flag=True, help="Clients may only fetch and lock.")
        @click.option("--append-only", is_flag=True, help="Clients may not remove.")
        @click.option("--no-git", "limited", is_flag=True, help="Clients may not use the git repository.")
        @click.option(
            "--connections",
            metavar="N",
            type=click.IntRange(min=1),
            help="How many connections are served at a time (1000).",
        )
        @click.option(
            "--per-token",
            metavar="N",
            type=click.IntRange(min=1),
            help="How many of them clients with the same token may have (a quarter of them). Half of these may hold a "
            "lock, and half may upload.",
        )
        @click.option(
            "--per-address",
            metavar="N",
            type=click.IntRange(min=1),
            help="The same for clients with the same IPv4 address, IPv6 /64 network, or local account (half of them).",
        )
        @click.option(
            "--memory",
            metavar="MIB",
            type=click.IntRange(min=4),
            help="Mebibytes that the buffers of all transfers may use (128).",
        )
        @click.option("--tls-cert", metavar="FILE", type=click.Path(), help="For tls://: the certificate chain, PEM.")
        @click.option("--tls-key", metavar="FILE", type=click.Path(), help="Its private key, if it is in another file.")
        @functools.wraps(command)
        def wrapped(
            *args: Any,
            read_only: bool,
            append_only: bool,
            limited: bool,
            connections: int | None,
            per_token: int | None,
            per_address: int | None,
            memory: int | None,
            tls_cert: str | None,
            tls_key: str | None,
            **rest: Any,
        ) -> object:
            if read_only and append_only:
                raise click.UsageError("--read-only and --append-only exclude each other")
            mode = _mode(read_only, append_only)
            settings = _Settings(mode, limited, tls_cert, tls_key, connections, per_token, per_address, memory)
            return command(*args, settings=settings, **rest)

        return wrapped  # type: ignore[return-value]

    return decorate


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@_listens(required=True)
@prints
def serve(directory: str, urls: tuple[str, ...], settings: _Settings, output: Output) -> int:
    """Serve a directory store, a git-annex repository or a cluster on sockets and P2P networks.

    Prints each URL when it listens there. Clients need a token of DIR (p2pannex token create DIR). On a P2P network,
    clients of a git-annex repository need one of git-annex's tokens instead (git annex p2p --gen-addresses).

    SIGTERM or an interrupt makes it finish running requests and exit. A second one makes it exit immediately.
    """
    import trio

    _log_to_stderr(output)

    async def run() -> int:
        from p2pannex.urls import open_local

        store = open_local(directory)
        return await _serve(store, directory, store.tokens_directory(), urls, settings, output)

    return trio.run(run)


@click.command()
@click.argument("url", type=URL)
@click.option(
    "--uuid",
    metavar="UUID",
    help="The repository's UUID. With it, clients get AUTH-SUCCESS before the proxy has connected.",
)
@click.option("--tokens", "tokens_of", metavar="DIR", help="With --listen: the store whose tokens admit clients.")
@_listens(required=False)
@connects
@prints
def proxy(
    url: str,
    uuid: str | None,
    tokens_of: str | None,
    urls: tuple[str, ...],
    settings: _Settings,
    connection: ConnectionOptions,
    output: Output,
) -> int:
    """Serve the repository at URL: a proxy.

    Without --listen, the proxy serves one client on standard input and output, so it can be the command of an ssh key.
    With --listen, it serves on sockets, and clients need a token of the store DIR that --tokens names (p2pannex token
    create DIR).

    Clients can use no higher protocol version than the repository supports.

    \b
    p2pannex proxy 'ssh://server/srv/annex?uuid=UUID'
    """
    import trio

    if bool(urls) != (tokens_of is not None):
        raise click.UsageError("--listen and --tokens must be given together")

    async def run() -> int:
        from p2pannex.p2p.stdio import serve_stdio
        from p2pannex.url_syntax import SshURL, parse_url
        from p2pannex.urls import open_local

        known = parsed.uuid if isinstance(parsed := parse_url(url), SshURL) and uuid is None else uuid
        if tokens_of is None:
            async with connection.open(url, uuid=known) as service:
                await serve_stdio(service, mode=settings.mode, limited=settings.limited, report=complain)
            return exit_codes.DONE
        tokens = open_local(tokens_of).tokens_directory()
        async with connection.open(url, uuid=known, connections=settings.connections or CONNECTIONS) as service:
            return await _serve(service, tokens_of, tokens, urls, settings, output)

    if urls:
        _log_to_stderr(output)
    return trio.run(run)


def _log_to_stderr(output: Output) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(LogLine("p2pannex"))
    logging.getLogger("p2pannex").addHandler(handler)
    logging.getLogger("p2pannex").setLevel(logging.WARNING if output.quiet else logging.INFO)


def _mode(read_only: bool, append_only: bool) -> Mode:
    from p2pannex.access import Mode

    return Mode.READ_ONLY if read_only else Mode.APPEND_ONLY if append_only else Mode.READ_WRITE


async def _serve(
    service: Service,
    directory: str,
    tokens_directory: bytes,
    urls: tuple[str, ...],
    settings: _Settings,
    output: Output,
) -> int:
    """Serve until a signal ends it. `tokens_directory` holds the tokens; messages name `directory` as their store."""
    import trio

    from p2pannex.access import TokenFile
    from p2pannex.p2p.listen import serve_listeners
    from p2pannex.url_syntax import NetworkURL, TcpURL, TlsURL, parse_url
    from p2pannex.urls import listen_at

    listening: dict[Tokens, list[SocketListener]] = {}  # git-annex's tokens are valid for one address each
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        # Signals are handled until everything is closed. That starts before the first URL is printed, because a program
        # that reads the URL may send a signal at once.
        await nursery.start(_stop_on_signals, stopping, nursery.cancel_scope)
        async with service, AsyncExitStack() as stack:
            tokens = TokenFile(tokens_directory)
            no_tokens = not tokens.grants()
            accepted: Tokens
            for url in urls:
                accepted = tokens
                top = tls = None
                if isinstance(parsed := parse_url(url), NetworkURL):
                    accepted, top = _network_tokens(service, parsed, tokens)
                elif isinstance(parsed, TlsURL):
                    tls = _tls(settings.tls_cert, settings.tls_key)
                elif isinstance(parsed, TcpURL) and parsed.host not in LOCAL:
                    log.warning("%s is not encrypted: others on the network can read tokens and content", url)
                opened = await stack.enter_async_context(listen_at(url, tls=tls, directory=top))
                listening.setdefault(accepted, []).extend(opened.values())
                for shown in opened:
                    output.result(os.fsencode(shown), listening=shown)
            if no_tokens and tokens in listening:
                log.warning(
                    "there are no tokens, so no client is admitted; make one: p2pannex token create %s", directory
                )
            limits = _limits(settings, len(listening))
            async with trio.open_nursery() as serving:
                for accepted, listeners in listening.items():
                    serving.start_soon(
                        partial(
                            serve_listeners,
                            listeners,
                            service,
                            tokens=accepted,
                            mode=settings.mode,
                            limited=settings.limited,
                            limits=limits,
                            stopping=stopping,
                        )
                    )
        nursery.cancel_scope.cancel()
    return exit_codes.DONE


def _limits(settings: _Settings, servers: int) -> Limits:
    """The limits of each of `servers` servers in this process: they share its connections, descriptors and memory."""
    from p2pannex.p2p.limits import CONNECTIONS, Limits, connections_for, descriptors_for
    from p2pannex.stores.files.retention import LOCKS
    from p2pannex.system.descriptors import raise_descriptor_limit
    from p2pannex.transports.pump import blocks

    if settings.memory is not None:
        blocks.limit = settings.memory << 20
    wanted = settings.connections or CONNECTIONS
    # A repository keeps a file open for each content that is locked, and uses a quarter of the limit for that.
    possible = connections_for(raise_descriptor_limit(max(descriptors_for(wanted), 4 * LOCKS)))
    if possible < wanted:
        log.warning(
            "the limit of open files (ulimit -n) allows %d connections instead of %d; raise it to %d",
            possible,
            wanted,
            descriptors_for(wanted),
        )
    each = max(1, min(wanted, possible) // servers)
    return Limits.for_connections(each, settings.per_token, settings.per_address)


def _network_tokens(service: Service, url: NetworkURL, tokens: TokenFile) -> tuple[Tokens, bytes | None]:
    """The tokens that admit clients on a P2P network, and the directory in which the network's program runs."""
    from p2pannex.git_annex.creds import P2PAuth
    from p2pannex.stores.annex.store import AnnexStore
    from p2pannex.transports.network import NetworkAddress

    if not isinstance(service, AnnexStore):
        return tokens, None
    address = str(NetworkAddress(url.net, url.address))
    known = P2PAuth(service.config.git_dir, address)
    if known.empty():
        log.warning(
            "%s: there are no tokens, so no client is admitted; make one: git annex p2p --gen-addresses", address
        )
    return known, service.top


async def _stop_on_signals(
    stopping: trio.Event, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]
) -> None:
    """Set `stopping` at the first signal, and cancel `scope` at the second."""
    import trio

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            if stopping.is_set():
                scope.cancel()
            stopping.set()


def _tls(tls_cert: str | None, tls_key: str | None) -> ssl.SSLContext:
    from p2pannex.transports.listeners import server_tls
    from p2pannex.url_syntax import InvalidURL

    if tls_cert is None:
        raise InvalidURL("tls:// needs a certificate: --tls-cert FILE")
    return server_tls(tls_cert, tls_key)
