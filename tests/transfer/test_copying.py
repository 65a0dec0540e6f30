"""Copying content from one service to another."""

from __future__ import annotations

import pytest

from p2pannex.errors import ConnectionLost
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Download, Stored, Upload
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import key_of
from p2pannex.transfer.copying import copy
from p2pannex.transfer.errors import NotPresent, NotStoredError, WrongContent
from p2pannex.transfer.progress import Transferred
from tests.transfer.services import LARGE_CONTENT, SMALL_CONTENT, WHOLE, Doubting, Refusing, Told, Watched, remote_to


@pytest.mark.parametrize("content", [b"", b"x", SMALL_CONTENT, LARGE_CONTENT], ids=len)
@pytest.mark.parametrize("version", range(5))
async def test_copy(content: bytes, version: int) -> None:
    source, target = MemoryStore(), MemoryStore()
    key = key_of(content)
    source.contents[key] = content
    progress = Watched()
    async with remote_to(source, version=version) as one, remote_to(target, version=version) as other:
        assert await copy(one, other, key, progress=progress) == Stored()
        assert await copy(one, other, key) == AlreadyHave()
    assert target.contents[key] == content
    assert progress.reports[-1] == Transferred(0, len(content), len(content))


@pytest.mark.parametrize("content", [SMALL_CONTENT, LARGE_CONTENT], ids=len)
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 0.999])
async def test_copy_when_the_source_is_lost(content: bytes, fraction: float) -> None:
    """The same upload goes on: the target sees one connection."""
    source, target = MemoryStore(), MemoryStore()
    key = key_of(content)
    source.contents[key] = content
    greeting = len(f"AUTH-SUCCESS {source.uuid}\nVERSION 4\nDATA {len(content)}\n")
    cut = greeting + int(len(content) * fraction)
    progress = Watched()
    async with remote_to(source, [(cut, None)]) as one, remote_to(target, [WHOLE, (0, 0)]) as other:
        assert await copy(one, other, key, progress=progress) == Stored()
    assert target.contents[key] == content
    assert progress.reports[-1].count == len(content)


async def test_copy_when_the_source_is_lost_for_good() -> None:
    source, target = MemoryStore(), MemoryStore()
    key = key_of(LARGE_CONTENT)
    source.contents[key] = LARGE_CONTENT
    async with remote_to(source, [(1_500_000, None)] * 9) as one:
        with pytest.raises(ConnectionLost):
            await copy(one, target, key, attempts=2)
        assert 2_900_000 < len(target.partials[key]) < 3_000_000  # kept, to go on from
    progress = Watched()
    assert await copy(source, target, key, progress=progress) == Stored()
    assert progress.reports[0].offset > 2_900_000


@pytest.mark.parametrize("cut", [*range(0, 600, 23), 100_000, 4_000_000])
async def test_copy_when_the_target_is_lost(cut: int) -> None:
    content = LARGE_CONTENT if cut > 1000 else SMALL_CONTENT
    source, target = MemoryStore(), MemoryStore()
    key = key_of(content)
    source.contents[key] = content
    async with remote_to(source) as one, remote_to(target, [(None, cut)]) as other:
        for _ in range(2):
            try:
                outcome = await copy(one, other, key)
                break
            except ConnectionLost:
                assert cut < 1000  # lost before the upload began
    assert outcome == Stored()
    assert target.contents[key] == content


async def test_copy_of_what_the_source_does_not_have() -> None:
    """The target's connection is used again afterwards."""
    source, target = MemoryStore(), MemoryStore()
    key = key_of(SMALL_CONTENT)
    target.partials[key] = bytearray(SMALL_CONTENT[:100])
    async with remote_to(source) as one, remote_to(target, [WHOLE, (0, 0)]) as other:
        with pytest.raises(NotPresent, match=source.uuid):
            await copy(one, other, key)
        assert not await other.check_present(key)
    assert target.partials[key] == SMALL_CONTENT[:100]


async def test_copy_stores_what_the_target_had_received_whole() -> None:
    source, target = MemoryStore(), MemoryStore()
    key = key_of(SMALL_CONTENT)
    target.partials[key] = bytearray(SMALL_CONTENT)
    assert await copy(source, target, key) == Stored()


@pytest.mark.parametrize("wrong", [SMALL_CONTENT[:-1] + b"?", SMALL_CONTENT[:-1], SMALL_CONTENT + b"?"], ids=len)
async def test_copy_of_wrong_content(wrong: bytes) -> None:
    source, target = MemoryStore(), MemoryStore()
    key = key_of(SMALL_CONTENT)
    source.contents[key] = wrong
    async with remote_to(source) as one, remote_to(target) as other:
        with pytest.raises(WrongContent):
            await copy(one, other, key)
    assert not target.contents


async def test_copy_passes_the_source_s_doubt_on() -> None:
    source, target = Doubting(), MemoryStore()
    worm = Key.make("WORM", "name", size=300, mtime=1)
    source.contents[worm] = SMALL_CONTENT
    with pytest.raises(NotStoredError) as caught:
        await copy(source, target, worm)
    assert isinstance(caught.value, WrongContent)
    assert not target.contents


async def test_copy_to_a_target_that_does_not_store_good_content() -> None:
    """The error names the repositories that did store it, and does not call the content wrong."""
    source = MemoryStore()
    key = key_of(LARGE_CONTENT)
    source.contents[key] = LARGE_CONTENT
    for valid in (True, False):
        source.contents[key] = LARGE_CONTENT if valid else LARGE_CONTENT[:-1] + b"?"
        with pytest.raises(NotStoredError, match="other-uuid" if valid else "not its content") as caught:
            await copy(source, Refusing(frozenset({"other-uuid"})), key)
        assert caught.value.uuids == {"other-uuid"}
        assert isinstance(caught.value, WrongContent) is not valid


class Announced(MemoryStore):
    """Notes how many bytes are announced for each upload."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths: list[int] = []

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        upload = await super().put(key, file)
        if isinstance(upload, Upload):
            begin = upload.begin

            async def noted(length: int) -> None:
                self.lengths.append(length)
                await begin(length)

            upload.begin = noted  # type: ignore[method-assign]
        return upload


@pytest.mark.parametrize("content", [SMALL_CONTENT, LARGE_CONTENT], ids=len)
async def test_the_source_learns_whether_the_target_stored_it(content: bytes) -> None:
    """FAILURE makes a source look at its copy. A second reading shows that this one is good."""
    source, key = Told(), key_of(content)
    source.contents[key] = content
    with pytest.raises(NotStoredError):
        await copy(source, Refusing(), key)
    assert source.receipts == [False, True]
    source.contents[key] = content[:-1] + b"?"
    source.receipts.clear()
    with pytest.raises(WrongContent):
        await copy(source, MemoryStore(), key)
    assert source.receipts == [False, False]
    source.contents[key] = content
    source.receipts.clear()
    assert await copy(source, MemoryStore(), key) == Stored()
    assert source.receipts == [True]


@pytest.mark.parametrize("wrong", [SMALL_CONTENT[:-1], SMALL_CONTENT + b"?"], ids=len)
async def test_a_length_that_is_not_the_keys_never_reaches_the_target(wrong: bytes) -> None:
    source, target = MemoryStore(), Announced()
    source.contents[key := key_of(SMALL_CONTENT)] = wrong
    with pytest.raises(WrongContent, match=f"announces {len(wrong)} bytes"):
        await copy(source, target, key)
    assert target.lengths == [0], "with INVALID, which keeps the connection"


@pytest.mark.parametrize("grown_by", [-7, 7])
async def test_a_source_whose_content_has_another_length_when_it_goes_on(grown_by: int) -> None:
    """The key does not tell the size, so the length that was announced first is the one that counts."""
    source, target, key = Told(stops_at=1_000_000), Announced(), Key.parse("WORM-m1--name")
    source.contents[key] = LARGE_CONTENT
    get = source.get

    async def grow_then_get(key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        if offset:
            source.contents[key] = bytes(len(LARGE_CONTENT) + grown_by)
        return await get(key, offset=offset, file=file)

    source.get = grow_then_get  # type: ignore[method-assign]
    with pytest.raises(WrongContent, match=f"announces {len(LARGE_CONTENT) + grown_by} bytes"):
        await copy(source, target, key)
    assert target.lengths == [len(LARGE_CONTENT)]
    assert not target.contents


async def test_a_source_that_stops_early_goes_on_in_the_same_upload() -> None:
    source, target = Told(stops_at=1_000_000), Announced()
    source.contents[key := key_of(LARGE_CONTENT)] = LARGE_CONTENT
    assert await copy(source, target, key) == Stored()
    assert target.lengths == [len(LARGE_CONTENT)]
