"""The second half of p2pannex-shell: the conversation, once AUTH-SUCCESS has been said.

It is a file of its own because it imports all that the first half must not wait for.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import trio

from p2pannex.peer import StreamPeer
from p2pannex.protocol.conversation import Side, State
from p2pannex.protocol.errors import ConnectionLost, RemoteError
from p2pannex.server import Mode, serve
from p2pannex.service import Service
from p2pannex.stores.annex import AnnexStore
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.identity import is_gateway
from p2pannex.transports.descriptor import DescriptorStream


def _store(path: str) -> Service:
    return DirectoryStore(path, single_client=True)


def _gateway(path: str) -> Service:
    from p2pannex.gateway_directory import GatewayDirectory
    from p2pannex.urls import open_url

    return GatewayDirectory(path, open_url)


OPEN: dict[str, Callable[[str], Service]] = {
    "annex": lambda path: AnnexStore(path, single_client=True),
    "directory": lambda path: _gateway(path) if is_gateway(os.fsencode(path)) else _store(path),
}
"""How each kind of store that `p2pannex.cli.shell.identify` tells apart is opened."""


def run_session(
    kind: str,
    directory: str,
    uuid: str,
    *,
    descriptors: tuple[int, int],
    read_only: bool,
    append_only: bool,
) -> str | None:
    """Serve a client that knows our UUID already, until it goes. Why it ended, where that was not in order."""
    mode = Mode.READ_ONLY if read_only else Mode.APPEND_ONLY if append_only else Mode.READ_WRITE
    try:
        service = OPEN[kind](directory)
        if service.uuid != uuid:
            return f"the repository in {directory} was replaced by another"
        trio.run(_session, service, mode, descriptors)
    except (ConnectionLost, RemoteError) as error:
        return str(error)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is not None:
            raise KeyboardInterrupt from None
        raise
    return None


async def _session(service: Service, mode: Mode, descriptors: tuple[int, int]) -> None:
    stream = DescriptorStream(*descriptors, keep_open=True)
    async with service:
        await serve(StreamPeer(stream, Side.SERVER, state=State.IDLE), service, mode=mode)
