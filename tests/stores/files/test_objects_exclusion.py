"""Each change of a key's content, and each look on which one rests, holds the key's exclusion."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trio

from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Lock, NotLocked, Removal, Stored, Upload
from p2pannex.stores.files.objects import ObjectStore
from p2pannex.stores.opening import open_directory
from p2pannex.testing.samples import fetch, key_of, store
from tests.stores.kinds import KINDS, make_store

CONTENT = b"content that others want as well"
KEY = key_of(CONTENT)

Two = tuple[ObjectStore, ObjectStore]


@pytest.fixture(params=KINDS)
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Two]:
    """The same store, as two processes see it."""
    make_store(request.param, tmp_path / "store")
    async with open_directory(str(tmp_path / "store")) as one, open_directory(str(tmp_path / "store")) as other:
        yield one, other


def place(one: ObjectStore) -> Path:
    return Path(os.fsdecode(one.layout.find(KEY)))


async def unfinished_upload(one: ObjectStore) -> Upload:
    upload = await one.put(KEY)
    assert isinstance(upload, Upload)
    await upload.begin(len(CONTENT))
    await upload.send_all(memoryview(CONTENT))
    return upload


async def waits(one: ObjectStore, operation: Callable[[], Awaitable[object]], unchanged: Callable[[], bool]) -> object:
    """Run the operation while another process holds the exclusion, which must keep it from its end."""
    results: list[object] = []

    async def run() -> None:
        results.append(await operation())

    async with trio.open_nursery() as nursery:
        with one._exclusion.hold(KEY):
            nursery.start_soon(run)
            await trio.sleep(0.15)
            assert not results, "it did not wait"
            assert unchanged()
    return results[0]


async def test_a_lock_waits(stores: Two) -> None:
    one, other = stores
    await store(one, CONTENT, KEY)
    lock = await waits(other, lambda: one.lock(KEY), lambda: True)
    assert isinstance(lock, Lock)
    await lock.release()


async def test_a_removal_waits(stores: Two) -> None:
    one, other = stores
    await store(one, CONTENT, KEY)
    removal = await waits(other, lambda: one.remove(KEY), lambda: place(one).exists())
    assert isinstance(removal, Removal)
    assert removal.ok


async def test_the_end_of_an_upload_waits(stores: Two) -> None:
    one, other = stores
    async with await unfinished_upload(one) as upload:
        outcome = await waits(other, lambda: upload.finish(True), lambda: not place(one).exists())
    assert outcome == Stored()


async def test_already_have_waits(stores: Two) -> None:
    one, other = stores
    await store(one, CONTENT, KEY)
    assert await waits(other, lambda: one.put(KEY), lambda: True) == AlreadyHave()


async def test_a_quarantine_waits(stores: Two) -> None:
    one, other = stores
    await store(one, CONTENT, KEY)
    place(one).chmod(0o644)
    place(one).write_bytes(b"ROT!" + CONTENT[4:])
    place(one).chmod(0o444)
    assert await waits(other, lambda: one.verify(KEY), lambda: place(one).exists()) is False
    assert not place(one).exists()


async def test_an_upload_that_waited_for_the_partial_looks_again(stores: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """The upload that had it locked has just stored the content: it is not received twice."""
    one, other = stores
    late = await unfinished_upload(other)

    async def stored_meanwhile() -> None:
        async with late:
            assert await late.finish(True) == Stored()

    looked = 0
    real_vouched = one._vouched

    async def vouched(key: object) -> os.stat_result | None:
        nonlocal looked
        looked += 1
        found = await real_vouched(KEY)
        if looked == 1:
            await stored_meanwhile()
        return found

    monkeypatch.setattr(one, "_vouched", vouched)
    assert await one.put(KEY) == AlreadyHave()
    assert await fetch(one, KEY) == CONTENT


def change_after_the_look(one: ObjectStore, patch: pytest.MonkeyPatch, change: Callable[[Path], object]) -> None:
    """Let `change` happen to the object after the store has vouched for it, and before it looks again."""
    real_vouched = one._vouched

    async def vouched(key: Key) -> os.stat_result | None:
        found = await real_vouched(key)
        change(place(one))
        return found

    patch.setattr(one, "_vouched", vouched)


def goes(path: Path) -> None:
    path.parent.chmod(0o755)
    path.unlink(missing_ok=True)  # the directory stays


def gets_another_size(path: Path) -> None:
    """Its permissions alone do not tell it."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    os.truncate(path, 1)
    path.chmod(mode)


@pytest.mark.parametrize("change", [goes, gets_another_size])
async def test_content_that_changes_before_the_lock_is_recorded_is_not_locked(
    stores: Two, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]
) -> None:
    """It was vouched for, and is looked at again with the exclusion held."""
    one, _ = stores
    await store(one, CONTENT, KEY)
    change_after_the_look(one, monkeypatch, change)
    with pytest.raises(NotLocked):
        await one.lock(KEY)


async def test_content_that_goes_before_already_have_is_stored_again(
    stores: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was vouched for, and is looked at again with the exclusion held."""
    one, _ = stores
    await store(one, CONTENT, KEY)
    change_after_the_look(one, monkeypatch, goes)
    upload = await one.put(KEY)
    assert isinstance(upload, Upload)
    await upload.aclose()
