"""Servers that speak a lower version."""

from __future__ import annotations

import contextlib

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost, Unsupported
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.remote import CONNECTIONS, Remote
from p2pannex.p2p.server import serve
from p2pannex.protocol.messages import LATEST_VERSION
from p2pannex.service import NotStored, Upload
from p2pannex.testing.pair import peer_pair
from p2pannex.testing.serving import served
from tests.p2p.remote.scripted import A, U, free_slots, hello_store
from tests.support.keys import HELLO_KEY as K

VERSIONS = range(LATEST_VERSION + 1)


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_a_low_version_cannot_do(version: int) -> None:
    async with served(hello_store(), version=version, transport="socket") as remote:
        if version < 3:
            with pytest.raises(Unsupported, match="version 3"):
                await remote.timestamp()
            with pytest.raises(Unsupported, match="REMOVE-BEFORE"):
                await remote.remove(K, before=99)
        else:
            assert await remote.timestamp() >= 0
        upload = await remote.put(A)
        assert isinstance(upload, Upload)
        async with upload:
            if version < 4:
                with pytest.raises(Unsupported, match="version 4"):
                    await upload.data_present()
            else:
                assert isinstance(await upload.data_present(), NotStored)
        assert await remote.check_present(K), "the connection is used again"
        assert free_slots(remote) == CONNECTIONS


async def test_a_replacement_may_speak_a_lower_version() -> None:
    here = hello_store()
    versions = iter([4, 2])
    async with trio.open_nursery() as nursery:

        async def run(server: Peer, most: int, stop: trio.CancelScope) -> None:
            with stop, contextlib.suppress(ConnectionLost):
                await serve(server, here, max_version=most)

        stops = [trio.CancelScope(), trio.CancelScope()]
        scopes = iter(stops)

        async def dial() -> Peer:
            client, server = peer_pair("stream")
            nursery.start_soon(run, server, next(versions), next(scopes))
            return client

        async with Remote(dial, U) as remote:
            assert await remote.timestamp()
            stops[0].cancel()
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(Unsupported):
                await remote.timestamp()
            assert free_slots(remote) == CONNECTIONS
        nursery.cancel_scope.cancel()
