"""Small files that are replaced, such as those of tokens and settings: durable, whole, and closed to other users."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from p2pannex.system.durability import file_durable, replace_file
from p2pannex.system.fsync_batch import run_blocking
from tests.support.disk_order import disk_order


def test_a_file_is_replaced_durably(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("old")
    with disk_order() as order:
        replace_file(os.fsencode(path), b"new")
    order.check_durable(path)
    assert path.read_text() == "new"
    assert [*tmp_path.iterdir()] == [path]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokens"
    path.write_text("old")

    def full(fd: int) -> None:
        assert path.read_text() == "old"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(os.fsencode(path), b"new")
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


def test_a_new_name_refers_to_the_whole_file_at_once(tmp_path: Path) -> None:
    """Readers take no lock: they find the old file or the new one."""
    path = tmp_path / "tokens"
    path.write_text("old")
    with path.open() as reader:
        replace_file(os.fsencode(path), b"new")
        assert reader.read() == "old"


def test_other_users_can_never_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_fsync = os.fsync
    modes: list[int] = []

    def fsync(fd: int) -> None:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            modes.append(stat.S_IMODE(os.fstat(fd).st_mode))
        real_fsync(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    before = os.umask(0)
    try:
        replace_file(os.fsencode(tmp_path / "tokens"), b"secret")
    finally:
        os.umask(before)
    assert modes == [0o600], "under its first name, too"
    assert stat.S_IMODE((tmp_path / "tokens").stat().st_mode) == 0o600


def test_an_error_of_the_disk_is_not_taken_for_lacking_support(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def sync() -> None:
        raise AssertionError("it would hide that the file was not written")

    monkeypatch.setattr(os, "fsync", broken)
    monkeypatch.setattr(os, "sync", sync)
    with (tmp_path / "file").open("wb") as file, pytest.raises(OSError, match="Input/output"):
        run_blocking(file_durable(file.fileno()))
