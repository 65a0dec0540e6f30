"""What is fsynced before SUCCESS is said, and how much of that one fsync does on which file system."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Stored, Upload
from p2pannex.stores.directory import DirectoryStore
from p2pannex.system import durability
from tests.system.mounts import pretended_file_systems

CONTENT = b"content"
KEY = Key.make("SHA256", hashlib.sha256(CONTENT).hexdigest().encode(), size=len(CONTENT))


async def upload_content(store: DirectoryStore) -> None:
    upload = await store.put(KEY)
    assert isinstance(upload, Upload)
    async with upload:
        await upload.begin(len(CONTENT))
        await upload.send_all(memoryview(CONTENT))
        assert isinstance(await upload.finish(True), Stored)


@pytest.mark.parametrize(
    ("file_system", "journal", "new", "found"),
    [
        ("btrfs", False, "KEY def abc objects", "KEY def abc objects"),
        ("xfs", False, "KEY", "KEY"),
        ("ext4", True, "KEY", "KEY"),
        ("ext4", False, "KEY", "KEY def abc objects"),
    ],
)
async def test_success_comes_after_the_disk_has_everything(
    directory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file_system: str,
    journal: bool,
    new: str,
    found: str,
) -> None:
    """Content fsynced, then renamed, then as many directories down to it as the file system needs."""
    seen: list[tuple[str, str]] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(fd: int) -> None:
        seen.append(("fsync", os.readlink(f"/proc/self/fd/{fd}")))
        real_fsync(fd)

    def rename(source: bytes, target: bytes) -> None:
        seen.append(("rename", os.fsdecode(target)))
        real_rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    systems = pretended_file_systems(tmp_path / "pretended", directory, file_system, journal=journal)
    monkeypatch.setattr(durability, "SYSTEM", systems)
    store = DirectoryStore(directory)
    await upload_content(store)
    path = os.fsdecode(store.layout.find(KEY))
    up: dict[str, str] = dict(zip(("KEY", "def", "abc", "objects"), map(str, Path(path).parents), strict=False))
    partial = os.fsdecode(store.layout.partial(KEY))
    assert seen == [("fsync", partial), ("rename", path), *(("fsync", up[name]) for name in new.split())]
    seen.clear()
    assert await store.put(KEY) == AlreadyHave()
    assert seen == [("fsync", up[name]) for name in found.split()], "ALREADY-HAVE is as good as SUCCESS"
    seen.clear()
    lock = await store.lock(KEY)
    await lock.aclose()
    count = len(found.split())
    assert seen[:count] == [("fsync", up[name]) for name in found.split()]
    record, *rest = seen[count:]
    assert record[0] == "fsync"
    assert Path(record[1]).parent.name == KEY.raw.decode(), "the record, before SUCCESS"
    assert [kind for kind, _ in rest] == ["rename", "fsync"] + (["fsync"] if file_system == "btrfs" else [])


async def test_of_directories_that_others_made_nothing_is_assumed(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may have been killed before they could fsync them; without a journal their marks do not tell."""
    systems = pretended_file_systems(tmp_path / "pretended", directory, "ext4", journal=False)
    monkeypatch.setattr(durability, "SYSTEM", systems)
    store = DirectoryStore(directory)
    place = Path(os.fsdecode(store.layout.find(KEY))).parent
    seen: list[str] = []
    real_fsync = os.fsync

    def fsync(fd: int) -> None:
        seen.append(os.readlink(f"/proc/self/fd/{fd}"))
        real_fsync(fd)

    place.parent.parent.mkdir()
    monkeypatch.setattr(os, "fsync", fsync)
    await upload_content(store)
    objects = os.fsdecode(store.layout.root)
    assert seen[1:] == [str(place), objects], "abc was there: that it is in objects is not known to be on disk"
