"""A proxy outlives the connections behind it."""

from __future__ import annotations

import contextlib

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.remote import Remote
from p2pannex.p2p.server import serve
from p2pannex.testing.pair import peer_pair
from p2pannex.testing.samples import begin_upload, key_of, sample, send_pieces, store
from p2pannex.testing.serving import served
from tests.p2p.remote.scripted import U, hello_store
from tests.support.keys import HELLO_KEY as K


async def test_a_proxy_outlives_what_is_behind_it() -> None:
    """Where the repository behind a proxy goes away, requests fail, and the proxy's clients stay connected."""
    here = hello_store()
    content = sample(3_000_000)
    dialling = True

    async with trio.open_nursery() as nursery:
        stop = trio.CancelScope()

        async def run(server: Peer) -> None:
            with stop, contextlib.suppress(ConnectionLost):
                await serve(server, here)

        async def dial() -> Peer:
            if not dialling:
                raise ConnectionLost("the machine is off")
            client, server = peer_pair("stream")
            nursery.start_soon(run, server)
            return client

        async with Remote(dial, U) as behind, served(behind, transport="socket", connections=1) as remote:
            assert await remote.check_present(K)
            async with await begin_upload(remote, key_of(content)) as upload:  # type: ignore[union-attr]
                await upload.begin(len(content))
                await send_pieces(upload, content[:1_000_000])
                dialling = False
                stop.cancel()
                await send_pieces(upload, content[1_000_000:])
                with pytest.raises(RemoteError):
                    await upload.finish(True)
            (kept,) = remote._pool._idle
            for _ in range(2):
                with pytest.raises(RemoteError, match="the machine is off"):
                    await remote.check_present(K)
                with pytest.raises(RemoteError, match="the machine is off"):
                    await remote.remove(K)
            dialling = True
            stop = trio.CancelScope()
            assert await remote.check_present(K)
            assert await store(remote, content) == key_of(content)
            assert remote._pool._idle == [kept], "it is the same connection all the time"
        nursery.cancel_scope.cancel()
