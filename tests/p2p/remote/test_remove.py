"""REMOVE is never repeated."""

from __future__ import annotations

import pytest

from p2pannex.errors import ConnectionLost
from p2pannex.p2p.remote import CONNECTIONS
from tests.p2p.remote.scripted import CHECK, REMOVE, free_slots, scripted
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
