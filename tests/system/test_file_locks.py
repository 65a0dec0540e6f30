"""Waits for locks end, and name who holds the lock."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from p2pannex.system import file_locks
from p2pannex.system.file_locks import Busy, holder_of, locked_by_another_user, sole_writer, try_lock, wait_until
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
        process.communicate(b"\n")
    with sole_writer(os.fsencode(tmp_path / "file")):
        pass


def test_without_a_holder(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file:
        assert holder_of(file.fileno()) is None
        fcntl.flock(file, fcntl.LOCK_EX)
        assert holder_of(file.fileno()) is None, "it is this process"
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
