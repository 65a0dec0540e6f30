"""Files that another user has put where ours would be are not used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from p2pannex.transfer.receiving_file import ReceivingFile, partial_path
from tests.support.keys import HELLO_KEY as K
from tests.support.other_user import OTHER, locking, needs_root, reachable


@pytest.fixture
def directory() -> Iterator[Path]:
    with reachable() as path:
        path.chmod(0o1777)
        yield path


async def receive(wanted: Path) -> None:
    with closing(await ReceivingFile.open(wanted, K)) as file:
        assert file.reached == 0
        await file.send_all(memoryview(b"hello"))
        assert not file.wrong
        await file.commit()


@needs_root
@pytest.mark.parametrize("left", [b"hel", b""], ids=["some bytes", "nothing yet"])
@pytest.mark.parametrize("mode", [0o666, 0o644, 0o000])
async def test_a_partial_that_another_user_has_planted(directory: Path, mode: int, left: bytes) -> None:
    wanted = directory / "out"
    planted = Path(os.fsdecode(partial_path(os.fsencode(wanted), K)))
    planted.write_bytes(left)
    os.chown(planted, OTHER, OTHER)
    planted.chmod(mode)
    await receive(wanted)
    assert wanted.read_bytes() == b"hello"
    assert wanted.stat().st_uid == os.getuid()
    assert planted.read_bytes() == left, "it is not ours"
    assert {path.name for path in directory.iterdir()} == {"out", planted.name}


@needs_root
async def test_a_link_that_another_user_has_planted(directory: Path) -> None:
    wanted = directory / "out"
    planted = Path(os.fsdecode(partial_path(os.fsencode(wanted), K)))
    (directory / "mine").write_bytes(b"mine")
    planted.symlink_to(directory / "mine")
    os.chown(planted, OTHER, OTHER, follow_symlinks=False)
    await receive(wanted)
    assert (directory / "mine").read_bytes() == b"mine"
    assert wanted.read_bytes() == b"hello"


@needs_root
@pytest.mark.parametrize("left", [b"hel", b""], ids=["some bytes", "nothing yet"])
async def test_a_partial_that_another_user_has_locked(directory: Path, left: bytes) -> None:
    wanted = directory / "out"
    partial = Path(os.fsdecode(partial_path(os.fsencode(wanted), K)))
    partial.write_bytes(left)
    partial.chmod(0o644)
    with locking(partial) as held:
        assert held == 1
        await receive(wanted)
        assert partial.read_bytes() == left, "its owner goes on with it"
    assert wanted.read_bytes() == b"hello"
