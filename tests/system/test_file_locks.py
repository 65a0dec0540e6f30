"""Locks on files: that they exclude, and that each wait for one ends and names the holder."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pannex.system import file_locks
from p2pannex.system.file_locks import (
    Busy,
    holder_of,
    is_at,
    locked_by_another_user,
    locked_by_this_user,
    sole_writer,
    try_lock,
    try_range,
    wait_until,
)
from tests.support.other_user import locking, needs_root, reachable


def test_the_holder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.lock"
    path.touch()
    program = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    command = [sys.executable, "-c", program, str(path)]
    monkeypatch.setattr(file_locks, "LOCK_TIMEOUT", 0.05)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with open(path) as file, pytest.raises(Busy, match=rf"busy: process {process.pid} of user \w+ has locked it"):
            wait_until(lambda: try_lock(file.fileno()), 0.05, file.fileno())
        with pytest.raises(Busy, match=str(process.pid)), sole_writer(os.fsencode(tmp_path / "file")):
            pass
        with open(path) as file:
            assert not locked_by_another_user(file.fileno())
            assert locked_by_this_user(file.fileno())
        process.communicate(b"\n")
    with sole_writer(os.fsencode(tmp_path / "file")):
        pass


def test_without_a_holder(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file:
        assert holder_of(file.fileno()) is None
        fcntl.flock(file, fcntl.LOCK_EX)
        assert holder_of(file.fileno()) is None, "it is this process"
        assert locked_by_this_user(file.fileno())
    assert str(Busy()) == "the repository is busy; try again later"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "file.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), sole_writer(os.fsencode(tmp_path / "file")):
        pass
    assert not (tmp_path / "elsewhere").exists()


@needs_root
def test_another_user() -> None:
    with reachable() as directory:
        (directory / "file").touch(0o644)
        with locking(directory / "file") as held, open(directory / "file") as file:
            assert held == 1
            assert locked_by_another_user(file.fileno())
            assert not locked_by_this_user(file.fileno())


@pytest.fixture
def fds(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Two open files of one path."""
    opened = [os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT) for _ in range(2)]
    yield opened[0], opened[1]
    for fd in opened:
        os.close(fd)


def test_a_wait_ends_with_busy() -> None:
    calls: list[None] = []

    def never() -> bool:
        calls.append(None)
        return False

    with pytest.raises(Busy):
        wait_until(never, 0.01)
    assert len(calls) > 1
    calls.clear()
    with pytest.raises(Busy):
        wait_until(never, 0)
    assert len(calls) == 1, "no wait, but one attempt"


def test_locks_exclude_other_open_files_of_the_process(fds: tuple[int, int]) -> None:
    one, other = fds
    assert try_lock(one, shared=True)
    assert try_lock(other, shared=True)
    assert not try_lock(one)
    assert try_range(one, fcntl.F_WRLCK, 5, 1)
    assert not try_range(other, fcntl.F_RDLCK, 5, 1)
    assert try_range(other, fcntl.F_WRLCK, 6, 1)
    assert not try_range(other, fcntl.F_RDLCK), "to the end of the file, and beyond"


def test_closing_another_descriptor_of_the_file_keeps_the_lock(fds: tuple[int, int], tmp_path: Path) -> None:
    assert try_range(fds[0], fcntl.F_WRLCK)
    os.close(os.open(tmp_path / "file", os.O_RDWR))
    assert not try_range(fds[1], fcntl.F_RDLCK)
    program = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "file"], stderr=subprocess.PIPE, check=False)
    assert b"BlockingIOError" in done.stderr, "git-annex's kind of lock"


def test_a_file_is_at_its_path_until_it_is_removed_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    status = path.stat()
    assert is_at(status, os.fsencode(path))
    path.rename(tmp_path / "moved")
    assert not is_at(status, os.fsencode(path))
    path.touch()
    assert not is_at(status, os.fsencode(path))
    path.unlink()
    path.symlink_to(tmp_path / "moved")
    assert not is_at(status, os.fsencode(path)), "a symbolic link to it is another file"


def _refuse(fd: int, operation: int) -> None:
    raise OSError(38, "Function not implemented")


@pytest.mark.parametrize("file_locks", [True, False])
def test_one_writer_at_a_time(tmp_path: Path, file_locks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "number"
    path.write_text("0")
    if not file_locks:
        monkeypatch.setattr(fcntl, "flock", _refuse)

    def count() -> None:
        for _ in range(10):
            with sole_writer(os.fsencode(path)):
                number = int(path.read_text())
                time.sleep(0.001)
                path.write_text(str(number + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() == "40"


def test_one_at_a_time_where_each_removes_the_lock_file(tmp_path: Path) -> None:
    """One waits for the lock of a file that its holder removes; a third comes when there is no file."""
    inside = 0
    most = 0
    mutex = threading.Lock()

    def enter(delay: float) -> None:
        nonlocal inside, most
        time.sleep(delay)
        with sole_writer(os.fsencode(tmp_path / "file"), remove=True):
            with mutex:
                inside += 1
                most = max(most, inside)
            time.sleep(0.1)
            with mutex:
                inside -= 1

    threads = [threading.Thread(target=enter, args=(delay,)) for delay in (0, 0.02, 0.04, 0.11, 0.12, 0.14)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert list(tmp_path.iterdir()) == []


def test_without_file_locks_a_long_holder_is_not_displaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", _refuse)
    monkeypatch.setattr(file_locks, "LEFT", 0.6)
    monkeypatch.setattr(file_locks, "LOCK_TIMEOUT", 1.5)
    path = os.fsencode(tmp_path / "file")
    with sole_writer(path), pytest.raises(Busy), sole_writer(path):
        pass
    with sole_writer(path):
        pass


def test_without_file_locks_only_the_own_file_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", _refuse)
    locked = tmp_path / "file.locked"
    with sole_writer(os.fsencode(tmp_path / "file")):
        locked.unlink()  # as after a suspend that took longer than a minute
        locked.touch()
    assert locked.exists()


def test_without_file_locks_a_file_of_a_killed_process_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", _refuse)
    locked = tmp_path / "file.locked"
    locked.touch()
    os.utime(locked, (1, 1))
    with sole_writer(os.fsencode(tmp_path / "file")):
        assert locked.stat().st_mtime > 1
    assert not locked.exists()
