"""Lock files that are a second name of a file of ours: as good as those of others, and never in anybody's way."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pannex.git_annex.config import AnnexConfig
from p2pannex.git_annex.layout import AnnexLayout
from p2pannex.stores.annex.lock_file_pool import SpareLocks
from p2pannex.stores.annex.locks import LockFile

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
print("open", flush=True)
fcntl.lockf(file, fcntl.LOCK_SH)
print("locked", flush=True)
sys.stdin.read()
"""
"""Locks a file as git-annex does, and waits for it."""


@pytest.fixture
def layout(tmp_path: Path) -> AnnexLayout:
    (tmp_path / "annex").mkdir()
    return AnnexLayout(AnnexConfig(os.fsencode(tmp_path), {"annex.uuid": "u", "core.bare": "true"}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "KEY.lck"


@pytest.fixture
def spare(layout: AnnexLayout) -> Iterator[SpareLocks]:
    spare = SpareLocks(layout)
    yield spare
    spare.close()


def taken(spare: SpareLocks, path: Path) -> LockFile:
    lock = spare.take(os.fsencode(path))
    assert lock is not None
    return lock


def ordinary(layout: AnnexLayout, path: Path, *, exclusive: bool = True) -> LockFile | None:
    return LockFile.take(os.fsencode(path), layout, exclusive=exclusive)


def own_files(layout: AnnexLayout) -> dict[str, int]:
    """The files that names are given to, and how many names they have."""
    return {file.name: file.stat().st_nlink for file in Path(os.fsdecode(layout.own), "locks").iterdir()}


def test_others_find_it_locked_and_then_gone(layout: AnnexLayout, spare: SpareLocks, path: Path) -> None:
    for _ in range(3):
        lock = taken(spare, path)
        assert ordinary(layout, path) is None
        assert ordinary(layout, path, exclusive=False) is None
        with path.open("r+b") as file, pytest.raises(BlockingIOError):
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        lock.remove()
        lock.close()
        assert not path.exists()
    assert own_files(layout) == {"0": 1}, "one file was enough"


def test_who_waits_for_it_gets_it_and_can_tell_that_it_is_gone(spare: SpareLocks, path: Path) -> None:
    lock = taken(spare, path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "open\n"
        lock.remove()
        assert waiting.stdout.readline() == "locked\n"
        assert not path.exists()
        assert spare.take(os.fsencode(path)) is None, "it is no lock of ours as long as somebody else has one on it"
        assert not path.exists()
        waiting.communicate()


def test_a_lock_file_that_is_there_is_left_alone(layout: AnnexLayout, spare: SpareLocks, path: Path) -> None:
    path.write_bytes(b"")
    before = path.stat()
    assert spare.take(os.fsencode(path)) is None
    assert os.path.samestat(path.stat(), before)
    lock = ordinary(layout, path)
    assert lock is not None
    lock.remove()
    taken(spare, path).remove()


def test_without_the_directory_there_is_none(spare: SpareLocks, tmp_path: Path) -> None:
    assert spare.take(os.fsencode(tmp_path / "none" / "KEY.lck")) is None
    taken(spare, tmp_path / "KEY.lck").remove()


def test_each_has_its_own(layout: AnnexLayout, spare: SpareLocks, tmp_path: Path) -> None:
    other = SpareLocks(layout)
    locks = [taken(one, tmp_path / f"{n}.lck") for n, one in enumerate([spare, spare, other])]
    assert own_files(layout) == {"0": 2, "1": 2, "2": 2}
    for lock in locks:
        lock.remove()
    other.close()
    assert own_files(layout) == {"0": 1, "1": 1, "2": 1}
    third = SpareLocks(layout)
    taken(third, tmp_path / "3.lck").remove()
    third.close()
    assert set(own_files(layout)) == {"0", "1", "2"}, "what others leave is used again"


def test_what_is_lent_when_the_store_closes_is_let_go_later(layout: AnnexLayout, spare: SpareLocks, path: Path) -> None:
    lock = taken(spare, path)
    spare.close()
    assert ordinary(layout, path) is None, "it is as good as before"
    lock.remove()
    other = SpareLocks(layout)
    taken(other, path).remove()
    other.close()
    assert own_files(layout) == {"0": 1}, "the other could have the file"


def test_the_lock_file_of_who_was_killed_is_an_ordinary_one(layout: AnnexLayout, path: Path) -> None:
    killed = SpareLocks(layout)
    lock = taken(killed, path)
    os.close(lock._fd)  # which is what the kernel does
    assert own_files(layout) == {"0": 2}
    spare = SpareLocks(layout)
    mine = taken(spare, path.with_name("OTHER.lck"))
    left = ordinary(layout, path, exclusive=False)
    assert left is not None
    left.close()
    mine.remove()
    spare.close()
    assert own_files(layout) == {"0": 1}
    assert path.stat().st_nlink == 1


def test_one_that_stays_is_ours_no_more(layout: AnnexLayout, spare: SpareLocks, path: Path) -> None:
    taken(spare, path).close()
    assert path.stat().st_nlink == 1
    lock = ordinary(layout, path)
    assert lock is not None
    lock.remove()
    taken(spare, path).remove()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
def test_where_there_are_no_links(spare: SpareLocks, path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    asked = []

    def link(source: bytes, target: bytes, *, follow_symlinks: bool) -> None:
        asked.append(target)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    assert spare.take(os.fsencode(path)) is None
    assert spare.take(os.fsencode(path)) is None
    assert len(asked) == 1, "once is enough to know"


def test_a_directory_that_is_read_only(spare: SpareLocks, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """git-annex's are: whoever wants the lock makes it writable and tries again."""

    def link(source: bytes, target: bytes, *, follow_symlinks: bool) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link)
        with pytest.raises(PermissionError):
            spare.take(os.fsencode(path))
    taken(spare, path).remove()


def test_many_at_once(layout: AnnexLayout, spare: SpareLocks, tmp_path: Path) -> None:
    locks = [spare.take(os.fsencode(tmp_path / f"{n}.lck")) for n in range(20)]
    assert [lock is not None for lock in locks] == [True] * 16 + [False] * 4
    for lock in locks:
        if lock is not None:
            lock.remove()
    taken(spare, tmp_path / "0.lck").remove()
