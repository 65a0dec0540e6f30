"""The byte stream of CONNECT: both ways at once, and ends that break."""

# ruff: noqa: ASYNC110 - what is waited for is the other side's doing, which sets no event

from __future__ import annotations

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost
from p2pannex.p2p.remote import CONNECTIONS
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.faults import FaultyStream
from p2pannex.testing.pair import PEERS
from p2pannex.testing.samples import sample
from p2pannex.testing.serving import served
from tests.p2p.remote.git_store import Git, local_side
from tests.p2p.remote.scripted import U, free_slots, scripted


@pytest.mark.parametrize("transport", PEERS)
async def test_connect_relays_both_ways_at_once(transport: str) -> None:
    """More than any buffer on the way holds, in both directions, each side reading only what it gets."""
    size = 6_000_000
    data = sample(size)

    class Both(MemoryStore):
        async def connect(self, program: str, stream: trio.abc.HalfCloseableStream) -> int:
            got = bytearray()

            async def take() -> None:
                while len(got) < size:
                    got.extend(await stream.receive_some())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(take)
                for start in range(0, size, 1 << 20):
                    await stream.send_all(memoryview(data)[start : start + (1 << 20)])
            return int(bytes(got) != data)

    async with served(Both(U), transport=transport) as remote, trio.open_nursery() as nursery:
        ours, theirs = local_side()
        codes: list[int] = []
        got = bytearray()

        async def connect() -> None:
            codes.append(await remote.connect("git-upload-pack", theirs))
            await theirs.aclose()

        async def take() -> None:
            async for part in ours:
                got.extend(part)

        nursery.start_soon(connect)
        nursery.start_soon(take)
        await ours.send_all(data)
        with trio.fail_after(50):
            while not codes:
                await trio.sleep(0.01)
    assert codes == [0]
    assert bytes(got) == data


async def test_connect_whose_local_side_breaks() -> None:
    here = Git()
    async with served(here, transport="socket") as remote:
        ours, theirs = local_side()
        await ours.send_all(b"abc")
        with pytest.raises(ConnectionLost, match="local side"):
            await remote.connect("git-upload-pack", FaultyStream(theirs, receives=3))
        assert free_slots(remote) == CONNECTIONS
        with trio.fail_after(50):
            while here.running:
                await trio.sleep(0.001)


async def test_connect_whose_server_dies() -> None:
    async with scripted([(b"CONNECT git-upload-pack\n", b"DATA 3\nabc"), (b"", None)]) as (remote, _):
        ours, theirs = local_side()
        with pytest.raises(ConnectionLost):
            await remote.connect("git-upload-pack", theirs)
        assert await ours.receive_some(10) == b"abc"
        assert free_slots(remote) == CONNECTIONS
