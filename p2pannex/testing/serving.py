"""Serves a service to a `Remote` in the same process, for tests of `Remote`, `serve` or a gateway.

::

    async with served(store, transport="socket", version=2) as remote:
        assert await remote.check_present(key)
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

import trio

from p2pannex.access import Mode
from p2pannex.errors import ConnectionLost
from p2pannex.p2p.peer import PEER_TIMEOUT, Peer
from p2pannex.p2p.remote import CONNECTIONS, Remote
from p2pannex.p2p.server import serve
from p2pannex.protocol.messages import LATEST_VERSION
from p2pannex.service import Service
from p2pannex.testing.pair import PEERS, Pair


@contextlib.asynccontextmanager
async def served(
    service: Service,
    *,
    transport: str = "memory",
    version: int = LATEST_VERSION,
    mode: Mode = Mode.READ_WRITE,
    timeout: float = PEER_TIMEOUT,
    connections: int = CONNECTIONS,
    peers: Callable[..., Pair] | None = None,
) -> AsyncIterator[Remote]:
    """Serve `service` to a `Remote`. Each connection has a new pair of peers of `transport`, one of `PEERS`.

    `peers` makes these pairs instead, for a test that puts something between the two peers; it is called with
    `timeout`. `version` is the highest protocol version of the client. The caller closes the service.
    """
    make = peers if peers is not None else PEERS[transport]
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:

        async def dial() -> Peer:
            client, server = make(timeout=timeout)
            nursery.start_soon(_serve, server, service, mode)
            return client

        remote = Remote(dial, service.uuid, version=version, timeout=timeout, connections=connections)
        try:
            async with remote:
                yield remote
        except Exception as error:
            failure = error  # raised outside of the nursery, which would wrap it in an exception group
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _serve(peer: Peer, service: Service, mode: Mode) -> None:
    with contextlib.suppress(ConnectionLost):
        await serve(peer, service, mode=mode)
