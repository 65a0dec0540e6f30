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
from p2pannex.system.file_systems import FileSystems, Reach, type_of

CONTENT = b"content"
KEY = Key.make("SHA256", hashlib.sha256(CONTENT).hexdigest().encode(), size=len(CONTENT))

MOUNTINFO = b"""\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
28 27 254:0 /srv /mnt/bound\\040here rw shared:7 master:2 - ext4 /dev/vda rw,discard
29 27 8:17 / /home rw,nosuid shared:1 - xfs /dev/sdb1 rw,attr2
30 27 0:44 / /var/lib/containers/merged rw - overlay overlay rw,lowerdir=/a - b,upperdir=/c
31 27 0:45 /@ /data rw - btrfs /dev/sdc rw,subvol=/@
32 27 7:0 / /one rw - vfat /dev/loop0 rw
33 27 7:0 / /other rw - iso9660 /dev/loop0 ro
nonsense
34 27 9:9 / /without-a-type rw
"""


@pytest.mark.parametrize(
    ("major", "minor", "kind"),
    [
        (254, 0, b"ext4"),
        (8, 17, b"xfs"),
        (0, 44, b"overlay"),
        (0, 45, b"btrfs"),
        (8, 1, None),
        (25, 40, None),
        (9, 9, None),
        (7, 0, None),
    ],
)
def test_the_type_of_a_file_system(major: int, minor: int, kind: bytes | None) -> None:
    assert type_of(os.makedev(major, minor), MOUNTINFO) == kind


def pretended_file_systems(place: Path, directory: Path, kind: str, *, journal: bool) -> FileSystems:
    """What would be known if the directory were on a file system of that kind."""
    device = directory.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    (place / "proc/self").mkdir(parents=True)
    (place / "proc/self/mountinfo").write_text(f"27 1 {number} / / rw - {kind} /dev/root rw\n")
    (place / "sys/dev/block").mkdir(parents=True)
    (place / "sys/dev/block" / number).symlink_to("../../devices/virtio1/block/vdz")
    (place / "proc/fs/jbd2/vdz-8" if journal else place / "proc/fs/jbd2/vda-8").mkdir(parents=True)
    return FileSystems(str(place / "proc"), str(place / "sys"))


@pytest.mark.parametrize(
    ("kind", "journal", "reach"),
    [
        ("ext4", True, Reach.EVERYTHING_EARLIER),
        ("ext4", False, Reach.NEW_PARENTS),
        ("xfs", False, Reach.EVERYTHING_EARLIER),
        ("btrfs", False, Reach.NOTHING),
        ("ext3", True, Reach.NOTHING),
        ("fuse.ext4", True, Reach.NOTHING),
    ],
)
def test_what_an_fsync_reaches(tmp_path: Path, kind: str, journal: bool, reach: Reach) -> None:
    systems = pretended_file_systems(tmp_path / "pretended", tmp_path, kind, journal=journal)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert systems.reach(fd, os.fsencode(tmp_path)) is reach
        assert systems.reach(fd, b"/proc") is Reach.NOTHING, "they are not on one file system"
        assert FileSystems("/nowhere", "/nowhere").reach(fd, os.fsencode(tmp_path)) is Reach.NOTHING
    finally:
        os.close(fd)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    DirectoryStore.create(path)
    return path


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
    assert lock is not None
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
