"""GET from servers that are old, or stop."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost
from p2pannex.keys.key import Key
from p2pannex.p2p.remote import CONNECTIONS
from p2pannex.testing.samples import fetch, key_of
from p2pannex.testing.serving import served
from tests.p2p.remote.scripted import GET, A, free_slots, hello_store, scripted
from tests.support.keys import HELLO_KEY as K


async def test_version_0_tells_absent_from_empty_by_the_key() -> None:
    here = hello_store()
    empty, unsized = key_of(b""), Key(b"WORM--unsized")
    here.contents[empty] = b""
    here.contents[unsized] = b""
    async with served(here, version=0) as remote:
        assert await fetch(remote, empty) == b""
        assert await fetch(remote, K, 5) == b""
        assert await fetch(remote, A) is None
        assert await fetch(remote, unsized) is None, "it cannot be known: what is not certain is not promised"


async def test_a_body_that_stops(autojump_clock: trio.testing.MockClock) -> None:
    async with scripted([(GET, b"DATA 5\nhel")]) as (remote, _):
        async with await remote.get(K) as download:
            assert await download.readinto(memoryview(bytearray(10))) == 3
            with pytest.raises(ConnectionLost, match="60 s"):
                await download.readinto(memoryview(bytearray(10)))
        assert free_slots(remote) == CONNECTIONS
