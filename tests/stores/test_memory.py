"""The store in memory: what the suite for every Service (tests/test_service_conformance.py) does not see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import RETENTION, NotStored, Stored, Upload
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.faults import Operation, cancel_everywhere
from p2pannex.testing.samples import fetch, key_of, store
from tests.support.clocks import ManualClock
from tests.support.keys import HELLO
from tests.support.keys import HELLO_KEY as K


async def uploading(here: MemoryStore, key: Key = K) -> Upload:
    upload = await here.put(key)
    assert isinstance(upload, Upload)
    return upload


def test_every_store_has_a_uuid_of_its_own() -> None:
    assert MemoryStore().uuid != MemoryStore().uuid
    assert MemoryStore("u").uuid == "u"


async def test_partials() -> None:
    here = MemoryStore()
    async with await uploading(here) as upload:
        await upload.begin(5)
        await upload.send_all(memoryview(b"hel"))
    assert here.partials == {K: b"hel"}
    async with await uploading(here) as upload:
        assert upload.offset == 3
        await upload.begin(2)
        await upload.send_all(memoryview(b"lo"))
        assert await upload.finish(True) == Stored()
    assert not here.partials
    assert here.contents == {K: HELLO}


async def test_an_upload_of_nothing_leaves_nothing() -> None:
    here = MemoryStore()
    async with await uploading(here):
        pass
    assert not here.partials
    assert not here._uploading


async def test_what_was_disowned_is_cut_off_only_where_no_digest_will_tell() -> None:
    for key, kept in ((K, b"heX"), (Key(b"WORM-s5--x"), b"he"), (Key(b"WORM--x"), b"he")):
        here = MemoryStore()
        async with await uploading(here, key) as upload:
            await upload.begin(2)
            await upload.send_all(memoryview(b"he"))
        async with await uploading(here, key) as upload:
            await upload.begin(1)
            await upload.send_all(memoryview(b"X"))
            assert await upload.finish(False) == NotStored()
        assert here.partials[key] == kept


async def test_one_upload_of_a_key_at_a_time() -> None:
    here = MemoryStore()
    async with await uploading(here) as first:
        with pytest.raises(RemoteError, match="another client"):
            await here.put(K)
        async with await uploading(here, key_of(b"other")):
            pass
    async with await uploading(here):
        pass
    await first.aclose()
    await first.begin(5)
    with pytest.raises(ConnectionLost):
        await first.send_all(memoryview(HELLO))


async def test_data_present_is_looked_at() -> None:
    here = MemoryStore()
    async with await uploading(here) as upload:
        assert await upload.data_present() == NotStored()
        here.contents[K] = HELLO
        assert await upload.data_present() == Stored()


async def test_locks_in_time() -> None:
    clock = ManualClock(never_read="wall")
    here = MemoryStore(clock=clock)
    await store(here, HELLO)
    is_retained, lost = await here.lock(K), await here.lock(K)
    assert is_retained is not None
    assert lost is not None
    clock.advance(RETENTION / 2)
    await lost.aclose()
    await is_retained.release()
    assert not (await here.remove(K)).ok, "the lost one's promise is not over"
    clock.advance(RETENTION / 2)
    assert (await here.remove(K)).ok, "ten minutes from when it was given, it is"


async def test_deadlines_are_in_whole_seconds() -> None:
    clock = ManualClock(never_read="wall")
    here = MemoryStore(clock=clock)
    await store(here, HELLO)
    clock.monotonic_now = 999.999
    assert await here.timestamp() == 999
    clock.monotonic_now = 1000.0
    assert not (await here.remove(K, before=1000)).ok
    clock.monotonic_now = 999.999
    assert (await here.remove(K, before=1000)).ok


async def test_cancelled_anywhere() -> None:
    @asynccontextmanager
    async def world() -> AsyncIterator[Operation]:
        clock = ManualClock(never_read="wall")
        here = MemoryStore(clock=clock)
        locked = released = removed = False

        async def operation() -> None:
            nonlocal locked, released, removed
            await store(here, HELLO, piece=2)
            async with await here.lock(K):
                locked = True
                await trio.lowlevel.checkpoint()
                released = True
            await here.remove(K)
            removed = True

        yield operation
        assert HELLO.startswith(here.partials.get(K, b""))
        assert here.contents.get(K, HELLO) == HELLO
        assert not here._uploading
        if locked and not released:
            assert not (await here.remove(K)).ok
        assert removed <= released <= locked
        clock.advance(RETENTION)
        assert (await here.remove(K)).ok
        await store(here, HELLO)
        assert await fetch(here, K) == HELLO

    assert await cancel_everywhere(world) > 10
