"""Lock files that git-annex locks too: made, locked, and removed while they are locked."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from p2pannex.git_annex.config import AnnexConfig
from p2pannex.git_annex.layout import AnnexLayout
from p2pannex.keys.key import Key
from p2pannex.service import Upload
from p2pannex.stores.annex.locks import KeyExclusion, LockFile
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.system.file_locks import Busy, KernelLocks, try_range
from tests.stores.annex.repository import KEY

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
print("open", flush=True)
fcntl.lockf(file, fcntl.LOCK_SH)
print("locked", flush=True)
sys.stdin.read()
"""
"""Locks a file as git-annex does, and waits for it."""

UNPRIVILEGED = 65534
"""A user ID without privileges. Unlike root, it cannot write to a read-only directory."""


@pytest.fixture
def layout(tmp_path: Path) -> AnnexLayout:
    (tmp_path / "annex").mkdir()
    return AnnexLayout(AnnexConfig(os.fsencode(tmp_path), {"annex.uuid": "u", "core.bare": "true"}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "KEY.lck"


def take(layout: AnnexLayout, path: Path, *, exclusive: bool = True) -> LockFile | None:
    return LockFile.take(os.fsencode(path), layout, exclusive=exclusive)


def taken(layout: AnnexLayout, path: Path, *, exclusive: bool = True) -> LockFile:
    lock = take(layout, path, exclusive=exclusive)
    assert lock is not None
    return lock


def test_others_find_it_locked_and_then_gone(layout: AnnexLayout, path: Path) -> None:
    for _ in range(3):
        lock = taken(layout, path)
        assert take(layout, path) is None
        assert take(layout, path, exclusive=False) is None
        with path.open("r+b") as file, pytest.raises(BlockingIOError):
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        lock.remove()
        lock.close()
        assert not path.exists()


def test_a_process_that_waits_for_it_finds_it_removed(layout: AnnexLayout, path: Path) -> None:
    lock = taken(layout, path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "open\n"
        lock.remove()
        assert waiting.stdout.readline() == "locked\n"
        assert not path.exists()
        taken(layout, path).remove()  # a new file, which the other process has not locked
        assert not path.exists()
        waiting.communicate()


@pytest.mark.parametrize("made_anew", [False, True])
def test_a_file_removed_before_it_was_locked_is_no_lock(
    layout: AnnexLayout, path: Path, monkeypatch: pytest.MonkeyPatch, made_anew: bool
) -> None:
    """The process that had it locked exclusively removes it, after we have opened it and before we lock it."""
    path.touch()
    before = path.stat()

    def late(fd: int, kind: int) -> bool:
        monkeypatch.undo()
        os.link(path, path.with_name("kept"))  # so that its inode is not used again
        path.unlink()
        if made_anew:
            path.touch()
        return try_range(fd, kind)

    monkeypatch.setattr(KernelLocks, "try_range", staticmethod(late))
    lock = taken(layout, path)
    assert not os.path.samestat(path.stat(), before)
    assert take(layout, path, exclusive=False) is None, "the file at the path is locked"
    lock.remove()
    assert not path.exists()


def test_a_lock_file_that_is_there_is_locked_and_not_replaced(layout: AnnexLayout, path: Path) -> None:
    path.write_bytes(b"")
    before = path.stat()
    shared = taken(layout, path, exclusive=False)
    assert take(layout, path) is None
    assert os.path.samestat(path.stat(), before)
    shared.close()
    lock = taken(layout, path)
    assert os.path.samestat(path.stat(), before)
    lock.remove()
    assert not path.exists()


def test_a_shared_lock_is_upgraded_when_it_is_the_only_one(layout: AnnexLayout, path: Path) -> None:
    one, other = (taken(layout, path, exclusive=False) for _ in range(2))
    assert not one.upgrade()
    other.close()
    assert one.upgrade()
    assert take(layout, path, exclusive=False) is None
    one.remove()


def test_without_the_directory_there_is_none(layout: AnnexLayout, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        take(layout, tmp_path / "none" / "KEY.lck")


def test_the_lock_file_of_a_killed_process_can_be_locked(layout: AnnexLayout, path: Path) -> None:
    killed = taken(layout, path)
    os.close(killed._fd)  # which is what the kernel does
    left = taken(layout, path, exclusive=False)
    left.close()
    taken(layout, path).remove()


def test_one_that_is_closed_stays(layout: AnnexLayout, path: Path) -> None:
    taken(layout, path).close()
    assert path.exists()
    taken(layout, path).remove()


@contextmanager
def unprivileged() -> Iterator[None]:
    if os.geteuid():
        yield
        return
    os.seteuid(UNPRIVILEGED)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_directory_that_is_read_only(layout: AnnexLayout) -> None:
    """git-annex's are: `AnnexLayout.within` makes the directory writable and tries again."""
    with tempfile.TemporaryDirectory() as top:  # pytest's own directories can be entered by their owner only
        os.chmod(top, 0o555)
        path = Path(top, "KEY.lck")
        try:
            with unprivileged(), pytest.raises(PermissionError):
                take(layout, path)
            os.chmod(top, 0o777)
            with unprivileged():
                taken(layout, path).remove()
            assert not path.exists()
        finally:
            os.chmod(top, 0o700)


def test_many_at_once(layout: AnnexLayout, tmp_path: Path) -> None:
    locks = [taken(layout, tmp_path / f"{n}.lck") for n in range(20)]
    for lock in locks:
        lock.remove()
    assert list(tmp_path.glob("*.lck")) == []


def test_a_symbolic_link_is_no_lock_file(layout: AnnexLayout, path: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    path.symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(OSError, match="symbolic"):
        take(layout, path)


def test_the_file_is_removed_while_it_is_locked(
    layout: AnnexLayout, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Afterwards the file at the path could be another program's, which holds its lock."""
    lock = taken(layout, path, exclusive=True)
    real_unlink = os.unlink

    def unlink(target: bytes) -> None:
        with path.open("r+b") as file:
            assert not try_range(file.fileno(), fcntl.F_RDLCK)
        real_unlink(target)

    monkeypatch.setattr(os, "unlink", unlink)
    lock.remove()
    assert not path.exists()


@pytest.mark.parametrize("bare", ["true", "false"])
def test_keys_in_one_directory_of_objects_share_an_exclusion(tmp_path: Path, bare: str) -> None:
    """That makes it safe to remove a directory that has become empty. Other keys need not wait."""
    (tmp_path / "annex").mkdir()
    layout = AnnexLayout(AnnexConfig(os.fsencode(tmp_path), {"annex.uuid": "u", "core.bare": bare}))
    keys = [Key(b"WORM-s1-m1--%d" % number) for number in range(20_000)]

    def above(key: Key) -> bytes:
        return os.path.relpath(layout.places(key)[0], layout.root).split(b"/")[0]

    one = keys[0]
    same = [key for key in keys[1:] if above(key) == above(one)]
    other = next(key for key in keys if above(key) != above(one))
    assert same
    with KeyExclusion(layout).hold(one):
        for key in same:
            with pytest.raises(Busy), KeyExclusion(layout).hold(key, 0):
                pass
        with KeyExclusion(layout).hold(other, 0):
            pass


async def test_content_that_another_program_receives_is_not_received_too(repository: Path) -> None:
    async with AnnexStore(repository) as one, AnnexStore(repository) as other:
        claim = other.claim(KEY)
        assert claim is not None
        with trio.move_on_after(0.3) as scope:
            await one.put(KEY)
        assert scope.cancelled_caught
        claim.release()
        upload = await one.put(KEY)
        assert isinstance(upload, Upload)
        await upload.aclose()
