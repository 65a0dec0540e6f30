"""The directory store: how it is created, its layout, and keys that it cannot take."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path

import pytest

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import NotLocked, Stored
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.directory_config import read_uuid
from p2pannex.system import durability
from p2pannex.testing.samples import key_of
from tests.stores.directories import files_below, upload_all
from tests.support.disk_order import disk_order
from tests.support.failing_calls import failing_at
from tests.support.fsyncs import record_fsyncs
from tests.system.mounts import pretended_file_systems

# The directory itself -------------------------------------------------------------------------------------------


def test_create_and_open(tmp_path: Path) -> None:
    made = DirectoryStore.create(tmp_path / "new" / "store", uuid="u-1")
    opened = DirectoryStore(tmp_path / "new" / "store")
    assert made.uuid == opened.uuid == "u-1" == read_uuid(os.fsencode(tmp_path / "new" / "store"))


def test_a_creation_that_failed_can_be_tried_again(tmp_path: Path) -> None:
    place = os.fsencode(tmp_path / "store")
    with failing_at(0, errno.ENOSPC, place) as calls:
        DirectoryStore.create(place)
    shutil.rmtree(place)
    last = len(calls.made)
    for n in (*range(1, 12), last // 2, *range(last - 30, last + 1)):  # between them are 256 lock files
        with failing_at(n, errno.ENOSPC, place) as calls:
            try:
                DirectoryStore.create(place)
            except RemoteError as error:
                assert "disk is full" in str(error)  # noqa: PT017
        assert calls.failed
        if not (tmp_path / "store" / "p2pannex.toml").exists():
            DirectoryStore.create(place)
        shutil.rmtree(place)


def test_the_directories_of_a_new_store_are_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systems = pretended_file_systems(tmp_path / "pretended", tmp_path, "btrfs", journal=False)
    monkeypatch.setattr(durability, "SYSTEM", systems)
    fsynced = record_fsyncs(monkeypatch)
    DirectoryStore.create(tmp_path / "new" / "below" / "store")
    assert {str(tmp_path), *(str(tmp_path / name) for name in ("new", "new/below", "new/below/store"))} <= set(fsynced)


def test_the_configuration_comes_last_and_is_durable(tmp_path: Path) -> None:
    """A directory that has one is a complete store."""
    place = tmp_path / "store"
    with disk_order() as order:
        DirectoryStore.create(place)
    order.check_durable(place / "p2pannex.toml")


async def test_a_store_whose_partials_are_gone_makes_nothing(directory: Path) -> None:
    """Perhaps its disk is not mounted."""
    (directory / "annex" / "tmp").rmdir()
    store = DirectoryStore(directory)
    with pytest.raises(RemoteError, match="is its disk mounted"):
        await store.put(key_of(b"content"))
    assert not (directory / "annex" / "tmp").exists()


async def test_a_disk_that_fails_is_not_taken_for_absent_content(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(directory)
    key = key_of(b"content")
    await upload_all(store, key, b"content")

    def broken(path: bytes) -> os.stat_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", broken)
        for request in (store.check_present, store.lock, store.remove, store.put):
            with pytest.raises(RemoteError, match="input/output error"):
                await request(key)
    assert await store.check_present(key)


def test_create_refuses_what_is_there(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="is already a p2pannex store"):
        DirectoryStore.create(directory)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    with pytest.raises(RemoteError, match="not empty"):
        DirectoryStore.create(tmp_path / "full")
    assert [*(tmp_path / "full").iterdir()] == [tmp_path / "full" / "thesis.tex"]


@pytest.mark.parametrize("bad", ["two words", 'quo"te', "line\nfeed", ""])
def test_create_refuses_what_cannot_be_a_uuid(tmp_path: Path, bad: str) -> None:
    with pytest.raises(RemoteError, match="cannot be a uuid"):
        DirectoryStore.create(tmp_path / "bad", uuid=bad)
    assert not (tmp_path / "bad").exists()


async def test_layout_is_that_of_a_bare_repository(directory: Path) -> None:
    key = Key.parse(b"WORM-s3-m1--a/b&c%d:e\xff")
    store = DirectoryStore(directory)
    await upload_all(store, key, b"abc")
    name = b"WORM-s3-m1--a%b&ac&sd&ce\xff"
    upper = hashlib.md5(key.raw).hexdigest()
    path = os.fsencode(directory) + b"/annex/objects/%s/%s/%s/%s" % (
        upper[:3].encode(),
        upper[3:6].encode(),
        name,
        name,
    )
    with open(path, "rb") as file:
        assert file.read() == b"abc"
    assert os.stat(path).st_mode & 0o777 == 0o444
    assert list(store.keys()) == [key]
    assert store.contents().keys == 1
    assert store.contents().bytes == 3


async def test_nothing_is_left_behind(directory: Path) -> None:
    store = DirectoryStore(directory)
    before = files_below(directory)
    for number in range(30):
        content = b"%d" % number
        assert await upload_all(store, key_of(content), content) == Stored()
        async with await store.lock(key_of(content)):
            pass
        assert (await store.remove(key_of(content))).ok
    await store.aclose()
    assert files_below(directory) == before
    assert not list((directory / "annex" / "objects").iterdir())
    assert not list((directory / "annex" / "retention").iterdir())


# Disks that refuse ----------------------------------------------------------------------------------------------


async def test_no_room_is_said_before_a_byte_is_sent(directory: Path) -> None:
    store = DirectoryStore(directory)
    store.disk_reserve = 1 << 62
    with pytest.raises(RemoteError, match="not enough disk space: 7 bytes to store, 0 free beyond the reserve"):
        await store.put(key_of(b"content"))
    assert files_below(directory / "annex" / "tmp") == set()


async def test_keys_with_names_too_long_for_a_file(directory: Path) -> None:
    store = DirectoryStore(directory)
    key = Key.parse(b"WORM-s3--" + b"x" * 300)
    assert not await store.check_present(key)
    with pytest.raises(NotLocked):
        await store.lock(key)
    assert (await store.remove(key)).ok
    assert (await store.get(key)).length == 0
    with pytest.raises(RemoteError, match="too long"):
        await store.put(key)
