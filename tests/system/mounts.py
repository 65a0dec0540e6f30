"""File systems that are mounted somewhere."""

from __future__ import annotations

import os
from pathlib import Path

from p2pannex.system.file_systems import FileSystems


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
