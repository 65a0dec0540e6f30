"""Retrieving content into files: it resumes, it verifies, and it tells how far it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from p2pannex.errors import ConnectionLost
from p2pannex.keys.key import Key
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import key_of
from p2pannex.transfer.receiving_file import partial_path
from p2pannex.transfer.transfer import NotPresent, Transferred, WrongContent, retrieve
from tests.transfer.services import LARGE_CONTENT, SMALL_CONTENT, Doubting, Told, Watched, partials, remote_to


@pytest.mark.parametrize("content", [b"", b"x", SMALL_CONTENT, LARGE_CONTENT], ids=len)
@pytest.mark.parametrize("version", range(5))
async def test_retrieve(tmp_path: Path, content: bytes, version: int) -> None:
    store = MemoryStore()
    key = key_of(content)
    store.contents[key] = content
    progress = Watched()
    async with remote_to(store, version=version) as remote:
        await retrieve(remote, key, tmp_path / "f", progress=progress)
    assert (tmp_path / "f").read_bytes() == content
    assert os.listdir(tmp_path) == ["f"]
    if content:
        assert progress.reports[0] == Transferred(0, len(content), 0)
        assert progress.reports[-1] == Transferred(0, len(content), len(content))


async def test_retrieve_through_a_connection_cut_at_every_byte(tmp_path: Path) -> None:
    store = MemoryStore()
    key = key_of(SMALL_CONTENT)
    store.contents[key] = SMALL_CONTENT
    cut, went_on = 0, 0
    while True:
        target = tmp_path / f"{cut}"
        async with remote_to(store, [(cut, None)]) as remote:
            try:
                await retrieve(remote, key, target)
            except ConnectionLost:
                assert not target.exists()  # lost before the content began: nothing to go on with
                await retrieve(remote, key, target)
            else:
                went_on += 1
        assert target.read_bytes() == SMALL_CONTENT
        assert not partials(tmp_path)
        if cut > 600:
            break
        cut += 7
    assert went_on > len(SMALL_CONTENT) // 7


@pytest.mark.parametrize("cut", [100, 65_000, 1_000_000, 3_333_333, 5_000_000])
async def test_retrieve_goes_on_where_an_earlier_call_ended(tmp_path: Path, cut: int) -> None:
    store = MemoryStore()
    key = key_of(LARGE_CONTENT)
    store.contents[key] = LARGE_CONTENT
    async with remote_to(store, [(cut, None)]) as remote:
        with pytest.raises(ConnectionLost):
            await retrieve(remote, key, tmp_path / "f", attempts=1)
    left = sum(partial.stat().st_size for partial in partials(tmp_path))
    progress = Watched()
    async with remote_to(store) as remote:
        await retrieve(remote, key, tmp_path / "f", progress=progress)
    assert (tmp_path / "f").read_bytes() == LARGE_CONTENT
    assert progress.reports[0] == Transferred(left, len(LARGE_CONTENT), left)
    assert cut - 200 <= left <= cut  # all that arrived, but for the lines before it
    assert os.listdir(tmp_path) == ["f"]


async def test_retrieve_gives_up_after_its_attempts(tmp_path: Path) -> None:
    store = MemoryStore()
    key = key_of(LARGE_CONTENT)
    store.contents[key] = LARGE_CONTENT
    async with remote_to(store, [(1_500_000, None)] * 9) as remote:
        with pytest.raises(ConnectionLost):
            await retrieve(remote, key, tmp_path / "f", attempts=2)
        assert 2_900_000 < partials(tmp_path)[0].stat().st_size < 3_000_000
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("version", range(5))
async def test_missing_content(tmp_path: Path, version: int) -> None:
    async with remote_to(MemoryStore(), version=version) as remote:
        with pytest.raises(NotPresent, match=remote.uuid):
            await retrieve(remote, key_of(SMALL_CONTENT), tmp_path / "f")
        assert not await remote.check_present(key_of(SMALL_CONTENT))  # the connection is still good
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("wrong", [SMALL_CONTENT[:-1] + b"?", SMALL_CONTENT[:-1], SMALL_CONTENT + b"?"], ids=len)
async def test_wrong_content_is_not_kept(tmp_path: Path, wrong: bytes) -> None:
    store = MemoryStore()
    key = key_of(SMALL_CONTENT)
    store.contents[key] = wrong
    async with remote_to(store) as remote:
        with pytest.raises(WrongContent):
            await retrieve(remote, key, tmp_path / "f")
    assert os.listdir(tmp_path) == []


async def test_the_sender_s_doubt_counts_where_there_is_no_digest(tmp_path: Path) -> None:
    store = Doubting()
    worm, sha = Key.make("WORM", "name", size=300, mtime=1), key_of(SMALL_CONTENT)
    store.contents = {worm: SMALL_CONTENT, sha: SMALL_CONTENT}
    with pytest.raises(WrongContent):
        await retrieve(store, worm, tmp_path / "worm")
    await retrieve(store, sha, tmp_path / "sha")
    assert os.listdir(tmp_path) == ["sha"]


async def test_a_cancelled_retrieve_keeps_what_arrived(tmp_path: Path) -> None:
    store = MemoryStore()
    key = key_of(LARGE_CONTENT)
    store.contents[key] = LARGE_CONTENT
    with trio.CancelScope() as scope:

        def cancel(now: Transferred) -> None:
            if now.count:
                scope.cancel()

        await retrieve(store, key, tmp_path / "f", progress=cancel)
    assert scope.cancelled_caught
    assert partials(tmp_path)[0].stat().st_size >= 1 << 20
    await retrieve(store, key, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == LARGE_CONTENT


@pytest.mark.parametrize("content", [SMALL_CONTENT, LARGE_CONTENT], ids=len)
async def test_a_service_learns_whether_its_content_was_right(tmp_path: Path, content: bytes) -> None:
    """FAILURE makes it look at its copy."""
    service = Told()
    service.contents[key := key_of(content)] = content[:-1] + b"?"
    with pytest.raises(WrongContent):
        await retrieve(service, key, tmp_path / "f")
    service.contents[key] = content
    await retrieve(service, key, tmp_path / "f")
    assert service.receipts == [False, True]


@pytest.mark.parametrize("wrong", [SMALL_CONTENT[:-1], SMALL_CONTENT + b"?"], ids=len)
async def test_a_length_that_is_not_the_keys_is_refused_before_the_first_byte(tmp_path: Path, wrong: bytes) -> None:
    service, progress = MemoryStore(), Watched()
    service.contents[key := key_of(SMALL_CONTENT)] = wrong
    with pytest.raises(WrongContent, match=f"announces {len(wrong)} bytes"):
        await retrieve(service, key, tmp_path / "f", progress=progress)
    assert progress.reports == []


async def test_a_whole_partial_without_a_digest_needs_the_services_valid(tmp_path: Path) -> None:
    """Its size is right, and nothing else can be known here."""
    key = Key.parse(f"WORM-s{len(SMALL_CONTENT)}-m1--name")
    Path(os.fsdecode(partial_path(os.fsencode(tmp_path / "f"), key))).write_bytes(SMALL_CONTENT)
    with pytest.raises(NotPresent):
        await retrieve(MemoryStore(), key, tmp_path / "f")
    assert not (tmp_path / "f").exists()
