"""What removals leave for later: little, and nothing once the store is closed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.files.cleanup import MANY, SMALL
from p2pannex.testing.samples import key_of, sample, store


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def below(directory: bytes) -> list[bytes]:
    return os.listdir(os.path.join(directory, b"annex", b"objects"))


@pytest.mark.parametrize("single_client", [True, False])
async def test_removals_leave_nothing_behind(tmp_path: Path, single_client: bool) -> None:
    DirectoryStore.create(tmp_path / "store")
    async with DirectoryStore(tmp_path / "store", single_client=single_client) as service:
        await store(service, b"the first")
        await service.remove(key_of(b"the first"))
        before = descriptors()
        for number in range(3 * MANY):
            await store(service, b"%d" % number)
            assert (await service.remove(key_of(b"%d" % number))).ok
            assert not await service.check_present(key_of(b"%d" % number))
            assert descriptors() < before + MANY
            assert len(below(service.path)) < MANY
    assert descriptors() <= before
    assert below(service.path) == []


async def test_much_space_is_free_at_once(tmp_path: Path) -> None:
    DirectoryStore.create(tmp_path / "store")
    content = sample(SMALL + 1, 0)
    async with DirectoryStore(tmp_path / "store", single_client=True) as service:
        await store(service, content)
        before = descriptors()
        await service.remove(key_of(content))
        assert descriptors() == before


async def test_content_that_is_stored_again_is_another_file(tmp_path: Path) -> None:
    """What is held is the file that was removed, whatever has its name now."""
    DirectoryStore.create(tmp_path / "store")
    async with DirectoryStore(tmp_path / "store", single_client=True) as service:
        for _ in range(2):
            await store(service, b"content")
            await service.remove(key_of(b"content"))
        await store(service, b"content")
        service._pending_cleanup.tidy()
        assert await service.check_present(key_of(b"content"))
    assert len(below(service.path)) == 1
