"""`Service.verify` of services that cannot read their content in place: it is fetched and hashed."""

from __future__ import annotations

import sys

import pytest

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import key_of
from tests.transfer.services import LARGE_CONTENT, SMALL_CONTENT, Doubting, Told


@pytest.mark.parametrize("content", [SMALL_CONTENT, LARGE_CONTENT], ids=len)
async def test_a_wrong_copy_is_not_verified_and_the_service_learns_it(content: bytes) -> None:
    service = Told()
    service.contents[key := key_of(content)] = content
    assert await service.verify(key)
    service.contents[key] = content[:-1] + b"?"
    assert not await service.verify(key)
    assert service.receipts == [True, False]


async def test_a_copy_that_the_service_doubts_is_not_verified() -> None:
    """The key has no digest: only INVALID tells."""
    key = Key.parse(f"WORM-s{len(SMALL_CONTENT)}-m1--name")
    doubting, sure = Doubting(), MemoryStore()
    doubting.contents[key] = sure.contents[key] = SMALL_CONTENT
    assert not await doubting.verify(key)
    assert await sure.verify(key)
    assert not await MemoryStore().verify(key), "it is not there"


async def test_a_copy_that_ends_early_is_not_verified() -> None:
    """Nor is the service told that it is wrong: it may have been changed meanwhile."""
    service = Told(stops_at=100)
    service.contents[key := key_of(SMALL_CONTENT)] = SMALL_CONTENT
    with pytest.raises((RemoteError, ConnectionLost), match="ended before the announced length"):
        await service.verify(key)
    assert service.receipts == []


async def test_a_copy_cannot_be_verified_without_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "blake3", None)
    service, key = MemoryStore(), Key.parse(f"BLAKE3_256-s{len(SMALL_CONTENT)}--{'0' * 64}")
    service.contents[key] = SMALL_CONTENT
    with pytest.raises(RemoteError, match="pip install blake3"):
        await service.verify(key)
