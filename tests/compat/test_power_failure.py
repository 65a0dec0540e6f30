"""What a disk has on it when the power fails right after SUCCESS: an image of it is copied at that moment.

The kernel's own file systems are asked, so that what `p2pannex.system.file_systems` relies on is seen to be so. To
mount them takes root, loop devices and mkfs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from p2pannex.stores.directory import DirectoryStore
from p2pannex.system.disk_work import Batched, DiskWork, Inline
from p2pannex.system.file_systems import FileSystems, Reach
from p2pannex.testing.samples import fetch, key_of, store

KINDS = {
    "ext4": (["mkfs.ext4", "-q", "-F"], 64, Reach.EVERYTHING_EARLIER),
    "ext4 with fast commits": (["mkfs.ext4", "-q", "-F", "-O", "fast_commit"], 64, Reach.EVERYTHING_EARLIER),
    "ext4 without a journal": (["mkfs.ext4", "-q", "-F", "-O", "^has_journal"], 64, Reach.NEW_PARENTS),
    "xfs": (["mkfs.xfs", "-q", "-f"], 400, Reach.EVERYTHING_EARLIER),
    "btrfs": (["mkfs.btrfs", "-q", "-f"], 200, Reach.NOTHING),
}


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@contextlib.contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    run("mount", "-o", "loop", image, place)
    try:
        yield place
    finally:
        run("umount", place)


@pytest.fixture
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An empty file system of the kind."""
    command, size, _ = KINDS[request.param]
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    program = shutil.which(command[0], path=path)
    if os.geteuid() or not os.path.exists("/dev/loop-control") or program is None:
        pytest.skip(f"mounting {request.param} takes root, loop devices and {command[0]}")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(size << 20)
    run(program, *command[1:], image)
    try:
        with mounted(image, tmp_path / "mounted"):
            pass
    except subprocess.CalledProcessError as error:
        pytest.skip(f"{request.param} cannot be mounted here: {error.stderr.decode().strip()}")
    return image


@pytest.mark.parametrize("way", [Inline, Batched])
@pytest.mark.parametrize(("image", "kind"), [(kind, kind) for kind in KINDS], indirect=["image"])
def test_content_survives(image: Path, kind: str, way: type[DiskWork], tmp_path: Path) -> None:
    contents = [b"alone", b"below directories made by a process that was killed"]
    copy = tmp_path / "copy"

    async def put_all(directory: Path) -> None:
        async with DirectoryStore(directory, disk_work=way()) as one:
            found = key_of(contents[1])
            Path(os.fsdecode(one.layout.find(found))).parent.mkdir(parents=True)
            for content in contents:
                await store(one, content)
            # A store that was closed has not been synced either: the copy is made while it is open.
            (directory / "unsynced").write_bytes(bytes(10_000))
            shutil.copyfile(image, copy)

    with mounted(image, tmp_path / "mounted") as top:
        directory = top / "store"
        DirectoryStore.create(directory, disk_reserve=0)
        fd = os.open(top, os.O_RDONLY)
        try:
            assert FileSystems().reach(fd, os.fsencode(top)) is KINDS[kind][2]
        finally:
            os.close(fd)
        run("sync", "-f", directory)
        trio.run(put_all, directory)

    async def get_all(directory: Path) -> list[bytes | None]:
        async with DirectoryStore(directory) as one:
            return [await fetch(one, key_of(content)) for content in contents]

    if kind == "ext4 without a journal":
        subprocess.run(["/usr/sbin/e2fsck", "-fy", copy], check=False, capture_output=True, timeout=60)
    with mounted(copy, tmp_path / "mounted") as top:
        assert trio.run(get_all, top / "store") == contents
        unsynced = top / "store" / "unsynced"
        assert not unsynced.exists() or unsynced.stat().st_size == 0, "the copy is of the disk, not of the cache"
