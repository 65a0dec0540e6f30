"""An upload that resumes takes the new bytes at once, and hashes what was kept behind them."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from p2pannex.errors import RemoteError
from p2pannex.service import NotStored, Stored, Upload
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.files import hashing, uploads
from p2pannex.stores.files.uploads import ObjectUpload
from p2pannex.testing.samples import key_of, sample
from tests.stores.directories import files_below

KEPT = 3_000_000
CONTENT = sample(KEPT + 500_000)
KEY = key_of(CONTENT)


async def resumed(directory: Path, kept: bytes, content: bytes = CONTENT) -> tuple[DirectoryStore, ObjectUpload]:
    """A store that has kept bytes, and the upload that resumes."""
    store = DirectoryStore(directory)
    partial = Path(os.fsdecode(store.layout.partial(key_of(content))))
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_bytes(kept)
    upload = await store.put(key_of(content))
    assert isinstance(upload, ObjectUpload)
    assert upload.offset == len(kept)
    return store, upload


def hashed(upload: ObjectUpload) -> int:
    assert upload._verifier is not None
    return upload._verifier.received


async def test_the_first_bytes_are_taken_before_what_was_kept_is_hashed(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "BEHIND", 100_000)
    store, upload = await resumed(directory, CONTENT[:KEPT])
    async with upload:
        await upload.begin(500_000)
        assert not hashed(upload)
        for number in range(5):
            await upload.send_all(memoryview(CONTENT)[KEPT + number * 100_000 :][:100_000])
            assert hashed(upload) == (number + 1) * 100_000, "a bounded part with each block"
        assert await upload.finish(True) == Stored()
    assert await store.check_present(KEY)


async def test_hashing_catches_up(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "BEHIND", 400_000)
    content = sample(5_000_000)
    _, upload = await resumed(directory, content[:1_000_000], content)
    async with upload:
        await upload.begin(4_000_000)
        for start in range(1_000_000, 5_000_000, 100_000):
            await upload.send_all(memoryview(content)[start : start + 100_000])
        assert hashed(upload) == 5_000_000
        assert await upload.finish(True) == Stored()


@given(
    kept=st.integers(0, 400),
    pieces=st.lists(st.integers(1, 150), max_size=8),
    damaged=st.none() | st.integers(0, 399),
    complete=st.booleans(),
    valid=st.booleans(),
    behind=st.integers(1, 200),
    step=st.integers(1, 200),
    block=st.integers(1, 64),
    on_loop=st.sampled_from([0, 20, 65536]),
)
def test_exactly_the_right_content_is_stored(
    tmp_path_factory: pytest.TempPathFactory,
    kept: int,
    pieces: list[int],
    damaged: int | None,
    complete: bool,
    valid: bool,
    behind: int,
    step: int,
    block: int,
    on_loop: int,
) -> None:
    """However much was kept, in whatever pieces the rest comes, and wherever hashing is meanwhile."""
    size = kept + sum(pieces)
    content = sample(size + (0 if complete else 1))
    key = key_of(content)
    before = bytearray(content[:kept])
    if damaged is not None and damaged < kept:
        before[damaged] ^= 1
    else:
        damaged = None
    directory = tmp_path_factory.mktemp("store")
    DirectoryStore.create(directory)

    async def run() -> None:
        store, upload = await resumed(directory, bytes(before), content)
        async with upload:
            await upload.begin(sum(pieces))
            for end, length in zip(itertools.accumulate(pieces, initial=kept), pieces, strict=False):
                await upload.send_all(memoryview(content)[end : end + length])
            outcome = await upload.finish(valid)
        right = complete and damaged is None
        assert outcome == (Stored() if right else NotStored())
        assert await store.check_present(key) is right
        partial = Path(os.fsdecode(store.layout.partial(key)))
        if right or complete:
            assert not partial.exists(), "stored, or wrong"
        else:
            assert (partial.read_bytes() if partial.exists() else b"") == bytes(before) + content[kept:size]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploads, "BEHIND", behind)
        patch.setattr(hashing, "STEP", step)
        patch.setattr(hashing, "BLOCK", block)
        patch.setattr(uploads, "WRITE_ON_LOOP", on_loop)
        trio.run(run)


async def test_what_cannot_be_the_content_is_not_hashed(directory: Path) -> None:
    """As where the sender sends nothing: the connection goes on at once."""
    _, upload = await resumed(directory, CONTENT[:KEPT])
    async with upload:
        await upload.begin(0)
        assert await upload.finish(False) == NotStored()
        assert not hashed(upload)
    _, upload = await resumed(directory, CONTENT[:KEPT])
    await upload.aclose()


async def test_hashing_at_the_end_can_be_cancelled(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "STEP", 1000)
    monkeypatch.setattr(uploads, "BEHIND", 1000)
    _, upload = await resumed(directory, CONTENT[:KEPT])
    await upload.begin(500_000)
    await upload.send_all(memoryview(CONTENT)[KEPT:])
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload.finish, True)
            while hashed(upload) < 5000:  # noqa: ASYNC110 - hashing sets no event
                await trio.sleep(0.001)
            scope.cancel()
    assert hashed(upload) < len(CONTENT)
    await upload.aclose()
    store = DirectoryStore(directory)
    again = await store.put(KEY)
    assert isinstance(again, Upload)
    assert again.offset == len(CONTENT)
    async with again:
        await again.begin(0)
        assert await again.finish(True) == Stored()


async def test_a_partial_that_becomes_shorter_is_an_error(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "BEHIND", 1000)
    store, upload = await resumed(directory, CONTENT[:KEPT])
    async with upload:
        await upload.begin(500_000)
        await upload.send_all(memoryview(CONTENT)[KEPT:])
        os.truncate(os.fsdecode(store.layout.partial(KEY)), 10_000)
        with pytest.raises(RemoteError, match="changed while it was read"):
            await upload.finish(True)
    assert not await store.check_present(KEY)
    assert not [name for name in files_below(directory) if "objects" in name]
