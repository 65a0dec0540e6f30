"""A program that takes no lock, such as rm or git annex setkey, removes the partial of an upload that still runs."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import NotStored, Stored, Upload
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.external.spool import Spool
from p2pannex.stores.files.objects import ObjectStore
from p2pannex.testing.samples import fetch, key_of, store
from tests.stores.kinds import make_store

CONTENT = b"content " * 1000
WRONG = b"another " * 1000
KEY = key_of(CONTENT)


@pytest.fixture(params=["directory", "repository"])
def stores(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[ObjectStore, ObjectStore]:
    """One store, as two processes have it open."""
    make_store(request.param, tmp_path / "place")
    kind = DirectoryStore if request.param == "directory" else AnnexStore
    return kind(tmp_path / "place"), kind(tmp_path / "place")


async def received(store: ObjectStore | Spool, content: bytes, *deliver: Callable[..., Awaitable[object]]) -> Upload:
    upload = await (store.upload(KEY, *deliver) if isinstance(store, Spool) else store.put(KEY))  # type: ignore[arg-type]
    assert isinstance(upload, Upload)
    await upload.begin(len(CONTENT))
    await upload.send_all(memoryview(content))
    return upload


def forget_claims(store: ObjectStore) -> None:
    """Let an upload begin beside another one, as where git-annex has removed the lock file of the transfer."""
    if isinstance(store, AnnexStore):
        os.unlink(store._annex_layout.transfer_lock(KEY))


async def test_a_partial_of_another_upload_does_not_become_the_object(stores: tuple[ObjectStore, ObjectStore]) -> None:
    one, other = stores
    first = await received(one, CONTENT)
    partial = one.layout.partial(KEY)
    os.unlink(partial)
    forget_claims(one)
    second = await received(other, CONTENT[:100])
    with pytest.raises(RemoteError, match="another program removed the partial file of this upload"):
        await first.finish(True)
    await first.aclose()
    assert not os.path.lexists(one.layout.find(KEY))
    assert os.stat(partial).st_size == 100, "that of the second upload stays"
    await second.send_all(memoryview(CONTENT[100:]))
    assert isinstance(await second.finish(True), Stored)
    assert await fetch(other, KEY) == CONTENT
    for each in stores:
        await each.aclose()


@pytest.mark.parametrize("sent", [WRONG, b""], ids=["complete, but wrong", "nothing yet"])
async def test_a_failed_upload_does_not_remove_that_of_another(
    stores: tuple[ObjectStore, ObjectStore], sent: bytes
) -> None:
    one, other = stores
    first = await received(one, sent)
    os.unlink(one.layout.partial(KEY))
    forget_claims(one)
    second = await received(other, CONTENT)
    if sent:
        assert isinstance(await first.finish(True), NotStored)
    await first.aclose()
    assert isinstance(await second.finish(True), Stored)
    assert await fetch(other, KEY) == CONTENT
    for each in stores:
        await each.aclose()


async def test_the_program_that_removed_it_has_stored_the_content(stores: tuple[ObjectStore, ObjectStore]) -> None:
    """As `git annex setkey` does."""
    one, other = stores
    first = await received(one, CONTENT)
    os.unlink(one.layout.partial(KEY))
    forget_claims(one)
    assert await store(other, CONTENT) == KEY
    assert isinstance(await first.finish(True), Stored)
    assert await fetch(one, KEY) == CONTENT
    for each in stores:
        await each.aclose()


@pytest.mark.parametrize("when", ["before the delivery", "during the delivery"])
async def test_a_spooled_file_of_another_upload_is_not_delivered(tmp_path: Path, when: str) -> None:
    spool = Spool(tmp_path / "spool")
    path = Path(os.fsdecode(spool.path)) / "up" / Path(os.fsdecode(_spooled(KEY)))
    delivered: list[bytes] = []

    def replace() -> None:
        path.unlink()
        path.write_bytes(WRONG)

    async def deliver(file: bytes) -> Stored | NotStored:
        if when == "during the delivery":
            replace()
        delivered.append(Path(os.fsdecode(file)).read_bytes())
        return Stored()

    async def present() -> bool:
        return False

    upload = await received(spool, CONTENT, deliver, present)
    if when == "before the delivery":
        replace()
    with pytest.raises(RemoteError, match="removed the content from the spool"):
        await upload.finish(True)
    await upload.aclose()
    assert path.read_bytes() == WRONG
    assert delivered == ([WRONG] if when == "during the delivery" else [])


def _spooled(key: Key) -> bytes:
    import hashlib

    return hashlib.sha256(key.raw).hexdigest().encode()
