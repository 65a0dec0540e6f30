"""REMOVE and REMOVE-BEFORE: never repeated, never without their deadline."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost, Unsupported
from p2pannex.keys.key import Key
from p2pannex.p2p.remote import CONNECTIONS
from p2pannex.service import Removal, seconds_to_hash
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.serving import served
from tests.p2p.remote.scripted import CHECK, REMOVE, free_slots, hello_store, scripted
from tests.support.clocks import ManualClock
from tests.support.keys import HELLO_KEY as K


@pytest.mark.parametrize("before", [None, 99])
async def test_a_removal_is_never_repeated(before: int | None) -> None:
    request = REMOVE if before is None else b"REMOVE-BEFORE 99 " + K.raw + b"\n"
    async with scripted([(CHECK, b"SUCCESS\n"), (request, None)], [(request, b"SUCCESS\n")]) as (remote, server):
        assert await remote.check_present(K)
        with pytest.raises(ConnectionLost):
            await remote.remove(K, before=before)
        assert server.dialled == 1
        assert free_slots(remote) == CONNECTIONS


@pytest.mark.parametrize("version", range(5))
async def test_a_deadline_is_never_left_out(version: int) -> None:
    """Not where it is zero, and not for a server that is too old for it."""
    here = hello_store(ManualClock())
    async with served(here, version=version) as remote:
        for before in (0, 1, 999):
            if version < 3:
                with pytest.raises(Unsupported):
                    await remote.remove(K, before=before)
            else:
                assert not (await remote.remove(K, before=before)).ok
        assert K in here.contents


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (b"SUCCESS\n", Removal(True)),
        (b"FAILURE\n", Removal(False)),
        (b"SUCCESS-PLUS u other\n", Removal(True, frozenset({"other"}))),
        (b"FAILURE-PLUS u other\n", Removal(False, frozenset({"other"}))),
    ],
)
async def test_what_a_reply_means(reply: bytes, outcome: Removal) -> None:
    async with scripted([(REMOVE, reply)]) as (remote, _):
        assert await remote.remove(K) == outcome


async def test_a_server_that_may_have_to_overwrite_the_content_is_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    size = 10**10
    key = Key.parse(f"SHA256-s{size}--" + "a" * 64)

    class Overwrites(MemoryStore):
        async def remove(self, key: Key, *, before: int | None = None) -> Removal:
            await trio.sleep(seconds_to_hash(size))
            return Removal(True)

    async with served(Overwrites(), timeout=5) as remote:
        assert (await remote.remove(key)).ok
