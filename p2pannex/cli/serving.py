"""`p2pannex serve`: a store, or a cluster, on sockets and P2P networks. `p2pannex proxy`: another repository, there or
on stdio.
"""

from __future__ import annotations

import functools
import logging
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from p2pannex.cli import exit_codes
from p2pannex.cli.errors import line
from p2pannex.cli.options import URL, ConnectionOptions, connects, prints
from p2pannex.cli.output import Output

if TYPE_CHECKING:
    import ssl

    import trio

    from p2pannex.access import Mode, TokenFile
    from p2pannex.p2p.listen import Tokens
    from p2pannex.service import Service
    from p2pannex.transports.listeners import SocketListener
    from p2pannex.url_syntax import NetworkURL

log = logging.getLogger(__name__)

LOCAL = ("127.0.0.1", "::1", "localhost")


CONNECTIONS = 1000
"""Clients that a proxy on sockets serves at a time: each may hold a connection to the repository behind it."""

F = TypeVar("F", bound=Callable[..., Any])


def _listens(*, required: bool) -> Callable[[F], F]:
    """The options of commands that serve; the function gets them as `urls`, `mode`, `tls_cert` and `tls_key`."""

    def decorate(command: F) -> F:
        @click.option(
            "--listen",
            "urls",
            metavar="URL",
            multiple=True,
            required=required,
            help="Where: unix:PATH, tcp://HOST:PORT, tls://HOST:PORT or p2p-annex::NET:ADDRESS; port 0 is any that is "
            "free. May be repeated.",
        )
        @click.option("--read-only", is_flag=True, help="Clients may fetch and lock only.")
        @click.option("--append-only", is_flag=True, help="Clients may not remove.")
        @click.option("--tls-cert", metavar="FILE", type=click.Path(), help="For tls://: the certificate chain, PEM.")
        @click.option("--tls-key", metavar="FILE", type=click.Path(), help="Its private key, if that is another file.")
        @functools.wraps(command)
        def wrapped(*args: Any, read_only: bool, append_only: bool, **rest: Any) -> object:
            if read_only and append_only:
                raise click.UsageError("--read-only and --append-only are two different things")
            return command(*args, mode=_mode(read_only, append_only), **rest)

        return wrapped  # type: ignore[return-value]

    return decorate


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@_listens(required=True)
@prints
def serve(
    directory: str, urls: tuple[str, ...], mode: Mode, tls_cert: str | None, tls_key: str | None, output: Output
) -> int:
    """Serve a directory store, a git-annex repository or a cluster on sockets and P2P networks.

    Who shows a token of it (p2pannex token create DIR) is let in; on a P2P network, with a git-annex repository, who
    shows one of git-annex's (git annex p2p --gen-addresses). Prints the URL of each socket when it listens.

    SIGTERM or an interrupt ends it, once the requests under way have ended; a second one ends it at once.
    """
    import trio

    _log_to_stderr(output)

    async def run() -> int:
        from p2pannex.urls import open_local

        store = open_local(directory)
        return await _serve(store, directory, store.tokens_directory(), urls, mode, tls_cert, tls_key, output)

    return trio.run(run)


@click.command()
@click.argument("url", type=URL)
@click.option("--uuid", metavar="UUID", help="Which repository it is: then clients are greeted before it is asked.")
@click.option("--tokens", "tokens_of", metavar="DIR", help="With --listen: whose tokens let clients in.")
@_listens(required=False)
@connects
@prints
def proxy(
    url: str,
    uuid: str | None,
    tokens_of: str | None,
    urls: tuple[str, ...],
    mode: Mode,
    tls_cert: str | None,
    tls_key: str | None,
    connection: ConnectionOptions,
    output: Output,
) -> int:
    """Serve the repository that URL names, wherever it is: a proxy.

    On standard input and output, as p2pannex-shell does for what is on its own machine (make it the command of an ssh
    key), or with --listen on sockets, to those who show a token of the store DIR (p2pannex token create DIR).

    Clients speak the version of the protocol that the repository speaks.

    \b
    p2pannex proxy 'ssh://server/srv/annex?uuid=UUID'
    """
    import trio

    if bool(urls) != (tokens_of is not None):
        raise click.UsageError("--listen and --tokens go together")

    async def run() -> int:
        from p2pannex.p2p.stdio import serve_stdio
        from p2pannex.url_syntax import SshURL, parse_url
        from p2pannex.urls import open_local

        known = parsed.uuid if isinstance(parsed := parse_url(url), SshURL) and uuid is None else uuid
        if tokens_of is None:
            async with connection.open(url, uuid=known) as service:
                await serve_stdio(service, mode=mode)
            return exit_codes.DONE
        tokens = open_local(tokens_of).tokens_directory()
        async with connection.open(url, uuid=known, connections=CONNECTIONS) as service:
            return await _serve(service, tokens_of, tokens, urls, mode, tls_cert, tls_key, output)

    if urls:
        _log_to_stderr(output)
    return trio.run(run)


def _log_to_stderr(output: Output) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine())
    logging.getLogger("p2pannex").addHandler(handler)
    logging.getLogger("p2pannex").setLevel(logging.WARNING if output.quiet else logging.INFO)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"p2pannex: {line(super().format(record))}"


def _mode(read_only: bool, append_only: bool) -> Mode:
    from p2pannex.access import Mode

    return Mode.READ_ONLY if read_only else Mode.APPEND_ONLY if append_only else Mode.READ_WRITE


async def _serve(
    service: Service,
    directory: str,
    tokens_directory: bytes,
    urls: tuple[str, ...],
    mode: Mode,
    tls_cert: str | None,
    tls_key: str | None,
    output: Output,
) -> int:
    """Serve until told to stop. `directory` is whose tokens those in `tokens_directory` are."""
    import trio

    from p2pannex.access import TokenFile
    from p2pannex.p2p.listen import serve_listeners
    from p2pannex.url_syntax import NetworkURL, TcpURL, TlsURL, parse_url
    from p2pannex.urls import listen_at

    listening: dict[Tokens, list[SocketListener]] = {}  # git-annex's tokens are good for one address each
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        # Before anybody is told that we listen: who then tells us to stop is to be heard. Until all is tidied up.
        await nursery.start(_stop_when_told, stopping, nursery.cancel_scope)
        async with service, AsyncExitStack() as stack:
            tokens = TokenFile(tokens_directory)
            no_tokens = not tokens.grants()
            good: Tokens
            for url in urls:
                good = tokens
                top = tls = None
                if isinstance(parsed := parse_url(url), NetworkURL):
                    good, top = _network_tokens(service, parsed, tokens)
                elif isinstance(parsed, TlsURL):
                    tls = _tls(tls_cert, tls_key)
                elif isinstance(parsed, TcpURL) and parsed.host not in LOCAL:
                    log.warning("%s is not encrypted: others can read tokens and content", url)
                opened = await stack.enter_async_context(listen_at(url, tls=tls, directory=top))
                listening.setdefault(good, []).extend(opened.values())
                for shown in opened:
                    output.result(shown, listening=shown)
            if no_tokens and tokens in listening:
                log.warning("no tokens yet, so nobody is let in: p2pannex token create %s", directory)
            async with trio.open_nursery() as serving:
                for good, listeners in listening.items():
                    serving.start_soon(
                        partial(serve_listeners, listeners, service, tokens=good, mode=mode, stopping=stopping)
                    )
        nursery.cancel_scope.cancel()
    return exit_codes.DONE


def _network_tokens(service: Service, url: NetworkURL, tokens: TokenFile) -> tuple[Tokens, bytes | None]:
    """Who is let in on a P2P network, and where its program is to run."""
    from p2pannex.git_annex.creds import P2PAuth
    from p2pannex.stores.annex.store import AnnexStore
    from p2pannex.transports.network import NetworkAddress

    if not isinstance(service, AnnexStore):
        return tokens, None
    address = str(NetworkAddress(url.net, url.address))
    known = P2PAuth(service.config.git_dir, address)
    if known.empty():
        log.warning("%s: no tokens for it yet, so nobody is let in: git annex p2p --gen-addresses", address)
    return known, service.top


async def _stop_when_told(stopping: trio.Event, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
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
