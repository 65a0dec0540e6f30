"""The second half of p2pannex-shell: serve a client, to which AUTH-SUCCESS has been sent.

It is a module of its own, because importing it takes time: `p2pannex.cli.shell.main` sends AUTH-SUCCESS first.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from p2pannex.access import Mode
from p2pannex.cli.log_lines import use
from p2pannex.cli.shell.command_line import CommandRefused
from p2pannex.cli.shell.owner import check_gateway
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.p2p.server import serve
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol.conversation import Side, State
from p2pannex.restrictions import APPEND_ONLY, LIMITED, READ_ONLY, Restrictions
from p2pannex.service import Service
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.directory_config import is_gateway
from p2pannex.system.disk_work import Batched, Inline
from p2pannex.transports.descriptor import DescriptorStream

if TYPE_CHECKING:
    from p2pannex.gateways.repository.reading import Served


def _store(path: str) -> Service:
    return DirectoryStore(path, disk_work=Inline())


def _annex(path: str) -> Service:
    from p2pannex.stores.annex.store import AnnexStore  # other kinds of repositories need not wait for it

    return AnnexStore(path, disk_work=Inline())


def _gateway(path: str) -> Service:
    check_gateway(os.fsencode(path))
    from p2pannex.gateways.directory.cluster import GatewayDirectory
    from p2pannex.urls import open_url

    return GatewayDirectory(path, functools.partial(open_url, disk_work=Batched(), capture_stderr=True))


def _served(served: Served) -> Service:
    from p2pannex.gateways.repository import service_of

    return service_of(served, disk_work=Batched())


OPEN: dict[str, Callable[[str], Service]] = {
    "annex": _annex,
    "directory": lambda path: _gateway(path) if is_gateway(os.fsencode(path)) else _store(path),
}
"""How to open each kind of repository that `p2pannex.cli.shell.main.identify` returns."""


def run_session(
    kind: str,
    directory: str,
    uuid: str,
    *,
    descriptors: tuple[int, int],
    restrictions: Restrictions,
    served: Served | None = None,
    report: Callable[[str], object] = lambda reason: None,
) -> str | None:
    """Serve a client to which `uuid` has been sent, until it disconnects. Returns the problem that ended it, or None.

    `report` is that of `serve`. git-annex shows its user nothing of an ERROR, but does show a server's standard error.

    `served` is a cluster or repository whose gateway is the repository in `directory`. If given, it is served instead.
    """
    mode = Mode(next((name for name in restrictions.names if name in (READ_ONLY, APPEND_ONLY)), Mode.READ_WRITE))
    limited = LIMITED in restrictions.names

    async def session() -> None:
        stream = DescriptorStream(*descriptors, keep_open=True)
        service = OPEN[kind](directory) if served is None else _served(served)
        if service.uuid != uuid:
            raise RemoteError(f"the repository in {directory} was replaced by another")
        async with service:
            peer = StreamPeer(stream, Side.SERVER, state=State.IDLE)
            await serve(peer, service, mode=mode, limited=limited, report=report)

    return _run(session)


def run_notifychanges(directory: str, *, descriptors: tuple[int, int]) -> str | None:
    """Report changes to git refs, in the protocol of the command notifychanges, until the client disconnects.

    Returns the problem that ended it, or None.
    """

    async def report() -> None:
        stream = DescriptorStream(*descriptors, keep_open=True)

        async def watch_client() -> None:
            async for _ in stream:
                pass  # its input has no meaning
            nursery.cancel_scope.cancel()

        async with (
            OPEN["annex"](directory) as service,
            contextlib.aclosing(service.changes()) as changes,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(watch_client)
            async for names in changes:
                await stream.send_all(f"CHANGED {' '.join(names)}\n".encode())

    return _run(report)


def _run(session: Callable[[], Awaitable[None]]) -> str | None:
    use("p2pannex-shell")
    try:
        trio.run(session)
    except (CommandRefused, ConnectionLost, RemoteError) as error:
        return str(error)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is not None:
            raise KeyboardInterrupt from None
        problem = group
        while isinstance(problem, BaseExceptionGroup) and len(problem.exceptions) == 1:
            problem = problem.exceptions[0]
        if isinstance(problem, ConnectionLost | RemoteError | trio.BrokenResourceError):
            return str(problem)
        raise
    return None
