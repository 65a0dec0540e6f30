"""What is left of removed content: no space after REMOVE's answer, no directory once the store is closed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.files.cleanup import MANY
from p2pannex.system.disk_work import DiskWork, Inline, InThreads
from p2pannex.testing.samples import key_of, sample, store
from tests.support.descriptors import count_descriptors


def removed_but_open() -> list[str]:
    """Files of this process that have no name any more, and whose space the file system can therefore not free."""
    targets = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            targets.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return [target for target in targets if target.endswith(" (deleted)") and "/annex/" in target]


def below(directory: bytes) -> list[bytes]:
    return os.listdir(os.path.join(directory, b"annex", b"objects"))


@pytest.mark.parametrize("way", [Inline, InThreads])
async def test_removals_leave_nothing_behind(tmp_path: Path, way: type[DiskWork]) -> None:
    DirectoryStore.create(tmp_path / "store")
    async with DirectoryStore(tmp_path / "store", disk_work=way()) as service:
        await store(service, b"the first")
        await service.remove(key_of(b"the first"))
        before = count_descriptors()
        for number in range(3 * MANY):
            await store(service, b"%d" % number)
            assert (await service.remove(key_of(b"%d" % number))).ok
            assert not await service.check_present(key_of(b"%d" % number))
            assert count_descriptors() <= before
            assert len(below(service.path)) < MANY
    assert count_descriptors() <= before
    assert below(service.path) == []


@pytest.mark.parametrize("way", [Inline, InThreads])
@pytest.mark.parametrize("size", [1, 10_000, (1 << 20) + 1])
async def test_the_space_is_free_once_remove_is_answered(tmp_path: Path, size: int, way: type[DiskWork]) -> None:
    DirectoryStore.create(tmp_path / "store")
    content = sample(size, 0)
    async with DirectoryStore(tmp_path / "store", disk_work=way()) as service:
        await store(service, content)
        before = count_descriptors()
        await service.remove(key_of(content))
        assert removed_but_open() == []
        assert count_descriptors() == before


async def test_content_that_is_stored_again_stays(tmp_path: Path) -> None:
    """A directory that is to be removed later is in use again: it stays, with the content in it."""
    DirectoryStore.create(tmp_path / "store")
    async with DirectoryStore(tmp_path / "store", disk_work=Inline()) as service:
        for _ in range(2):
            await store(service, b"content")
            await service.remove(key_of(b"content"))
        await store(service, b"content")
        service._pending_cleanup.tidy()
        assert await service.check_present(key_of(b"content"))
    assert len(below(service.path)) == 1
