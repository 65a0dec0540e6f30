"""PUT, and what is left of uploads that end early."""

from __future__ import annotations

import pytest

from p2pannex.errors import ConnectionLost, RemoteError, Unsupported
from p2pannex.p2p.remote import CONNECTIONS
from p2pannex.service import AlreadyHave, NotStored, Removal, Stored, Upload
from p2pannex.testing.pair import PEERS
from p2pannex.testing.samples import begin_upload, key_of, sample
from p2pannex.testing.serving import served
from tests.p2p.remote.scripted import CHECK, GET, PUT, REMOVE, A, free_slots, hello_store, scripted
from tests.support.keys import HELLO
from tests.support.keys import HELLO_KEY as K


async def test_an_upload_that_could_not_be_present_can_be_sent() -> None:
    async with served(hello_store(), version=3) as remote:
        upload = await remote.put(A)
        assert isinstance(upload, Upload)
        async with upload:
            with pytest.raises(Unsupported):
                await upload.data_present()
            await upload.begin(6)
            await upload.send_all(memoryview(b"absent"))
            assert await upload.finish(True) == Stored()


async def test_version_0_cannot_disown_what_was_sent() -> None:
    here = hello_store()
    async with served(here, version=0) as remote:
        upload = await remote.put(A)
        assert isinstance(upload, Upload)
        async with upload:
            await upload.begin(6)
            await upload.send_all(memoryview(b"abXent"))
            with pytest.raises(ConnectionLost, match="version 0"):
                await upload.finish(False)
        assert not await remote.check_present(A)
        assert free_slots(remote) == CONNECTIONS


async def test_errors_in_the_middle_of_transfers() -> None:
    async with scripted(
        [
            (GET, b"DATA 5\nhelloERROR it broke\n"),
            (PUT, b"PUT-FROM 0\n"),
            (b"DATA 5\nhelloVALID\n", b"ERROR no room\n"),
            (PUT, b"PUT-FROM 0\n"),
            (b"DATA-PRESENT\n", b"ERROR where?\n"),
            (CHECK, b"SUCCESS\n"),
        ]
    ) as (remote, server):
        async with await remote.get(K) as download:
            assert await download.readinto(memoryview(bytearray(10))) == 5
            with pytest.raises(RemoteError, match="it broke"):
                await download.valid()
        async with await begin_upload(remote, K) as upload:  # type: ignore[union-attr]
            await upload.begin(5)
            await upload.send_all(memoryview(HELLO))
            with pytest.raises(RemoteError, match="no room"):
                await upload.finish(True)
        async with await begin_upload(remote, K) as upload:  # type: ignore[union-attr]
            with pytest.raises(RemoteError, match="where"):
                await upload.data_present()
        assert await remote.check_present(K)
        assert server.dialled == 1
        assert free_slots(remote) == CONNECTIONS


async def test_repositories_that_are_named_and_never_the_remotes_own() -> None:
    async with scripted(
        [
            (REMOVE, b"SUCCESS-PLUS v u w\n"),
            (REMOVE, b"FAILURE-PLUS u\n"),
            (REMOVE, b"FAILURE-PLUS v\n"),
            (PUT, b"ALREADY-HAVE-PLUS u v\n"),
            (PUT, b"PUT-FROM 0\n"),
            (b"DATA 5\nhelloVALID\n", b"SUCCESS-PLUS u v\n"),
            (PUT, b"PUT-FROM 0\n"),
            (b"DATA-PRESENT\n", b"FAILURE-PLUS v u\n"),
        ]
    ) as (remote, server):
        assert await remote.remove(K) == Removal(True, frozenset("vw"))
        assert await remote.remove(K) == Removal(False)
        assert await remote.remove(K) == Removal(False, frozenset("v"))
        assert await remote.put(K) == AlreadyHave(frozenset("v"))
        async with await begin_upload(remote, K) as upload:  # type: ignore[union-attr]
            await upload.begin(5)
            await upload.send_all(memoryview(HELLO))
            assert await upload.finish(True) == Stored(frozenset("v"))
        async with await begin_upload(remote, K) as upload:  # type: ignore[union-attr]
            assert await upload.data_present() == NotStored(frozenset("v"))
        assert server.dialled == 1


@pytest.mark.parametrize("transport", PEERS)
async def test_transfers_that_are_left_give_their_connection_back(transport: str) -> None:
    here = hello_store()
    big = sample(2_000_000)
    here.contents[key_of(big)] = big
    async with served(here, transport=transport, connections=1) as remote:
        for _ in range(3):
            async with await remote.get(key_of(big)):
                pass
            async with await remote.get(key_of(big)) as download:
                await download.readinto(memoryview(bytearray(10)))
            async with await begin_upload(remote, A) as upload:  # type: ignore[union-attr]
                await upload.begin(6)
            async with await begin_upload(remote, A) as upload:  # type: ignore[union-attr]
                pass
            with pytest.raises(ConnectionLost, match="closed"):
                await upload.begin(6)
            with pytest.raises(ConnectionLost, match="closed"):
                await download.valid()
            assert free_slots(remote) == 1
            assert await remote.check_present(K)
