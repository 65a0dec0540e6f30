"""File systems: what type each has, and what an fsync reaches."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pannex.system.file_systems import FileSystems, Reach, type_of
from tests.system.mounts import pretended_file_systems

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


def test_a_device_number_that_is_given_away_brings_nothing_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A USB disk with xfs is unplugged, and another one gets its number."""
    systems = pretended_file_systems(tmp_path / "pretended", tmp_path, "xfs", journal=False)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert systems.reach(fd, os.fsencode(tmp_path)) is Reach.EVERYTHING_EARLIER
        mountinfo = tmp_path / "pretended/proc/self/mountinfo"
        mountinfo.write_text(mountinfo.read_text().replace("xfs", "btrfs"))
        fields = list(os.fstatvfs(fd))

        class Another:
            f_fsid = fields[-1] + 1

        monkeypatch.setattr(os, "fstatvfs", lambda fd: Another)
        assert systems.reach(fd, os.fsencode(tmp_path)) is Reach.NOTHING
    finally:
        os.close(fd)
