"""CONNECT."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from p2pannex.access import Mode
from p2pannex.errors import RemoteError
from p2pannex.p2p.remote import CONNECTIONS
from p2pannex.testing.pair import PEERS
from p2pannex.testing.serving import served
from tests.p2p.remote.git_store import Git, local_side
from tests.p2p.remote.scripted import free_slots, hello_store
from tests.support.keys import HELLO_KEY as K


@pytest.mark.parametrize("transport", PEERS)
async def test_connect(transport: str) -> None:
    here = Git()
    async with served(here, transport=transport) as remote:
        for _ in range(2):
            ours, theirs = local_side()
            codes: list[int] = []

            async def connect(stream: trio.abc.HalfCloseableStream, codes: list[int] = codes) -> None:
                codes.append(await remote.connect("git-upload-pack", stream))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(connect, theirs)
                await ours.send_all(b"abc")
                assert await ours.receive_some(10) == b"ABC"
                await ours.send_all(b"d.")
                assert await ours.receive_some(10) == b"D."
            assert codes == [7]
        assert free_slots(remote) == CONNECTIONS
        assert not remote._pool._idle, "CONNECT is the last that a connection does"


@pytest.mark.parametrize("transport", PEERS)
async def test_connect_that_is_refused(transport: str) -> None:
    async with served(hello_store(), transport=transport) as remote:
        _, theirs = local_side()
        with pytest.raises(RemoteError, match="no git repository"):
            await remote.connect("git-upload-pack", theirs)
        assert free_slots(remote) == CONNECTIONS
        assert await remote.check_present(K)
    async with served(Git(), transport=transport, mode=Mode.READ_ONLY) as remote:
        _, theirs = local_side()
        with pytest.raises(RemoteError, match="read-only"):
            await remote.connect("git-receive-pack", theirs)


async def test_connect_through_a_proxy() -> None:
    async with served(Git(), transport="socket") as inner, served(inner, transport="pipe") as outer:
        ours, theirs = local_side()
        await ours.send_all(b"through.")
        assert await outer.connect("git-upload-pack", theirs) == 7
        assert await ours.receive_some(10) == b"THROUGH."
