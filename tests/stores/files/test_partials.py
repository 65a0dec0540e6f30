"""How a partial is opened: made with O_EXCL, continued, or replaced where another user of the store left it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pannex.keys.key import Key
from p2pannex.stores.files.partials import open_partial
from p2pannex.system.file_locks import KERNEL_LOCKS, try_lock


class Layout:
    locks = KERNEL_LOCKS

    def __init__(self) -> None:
        self.shared: list[bytes] = []

    def partial(self, key: Key) -> bytes:
        raise NotImplementedError

    def prepare(self, path: bytes) -> bool:
        raise NotImplementedError

    def share(self, path: bytes) -> None:
        self.shared.append(path)


@pytest.fixture
def path(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path / "partial")


def test_a_new_one_is_shared_and_an_old_one_continued(path: bytes) -> None:
    layout = Layout()
    fd = open_partial(layout, path, exclusive=False)
    os.write(fd, b"abc")
    os.close(fd)
    assert layout.shared == [path]
    fd = open_partial(layout, path, exclusive=False)
    assert os.read(fd, 9) == b"abc"
    os.close(fd)
    assert layout.shared == [path]


def test_a_link_is_not_followed(path: bytes, tmp_path: Path) -> None:
    os.symlink(tmp_path / "elsewhere", path)
    with pytest.raises(OSError, match="symbolic links"):
        open_partial(Layout(), path, exclusive=False)
    assert not (tmp_path / "elsewhere").exists()


def test_the_directory_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_partial(Layout(), os.fsencode(tmp_path / "no" / "partial"), exclusive=False)


def test_one_that_cannot_be_written_to(path: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is replaced, unless an upload has it locked. Only a claim that excludes all others goes without the lock."""
    really = os.open
    refused = True

    def refusing(name: bytes, flags: int, mode: int = 0o777) -> int:
        if refused and flags & os.O_RDWR and not flags & os.O_CREAT:
            raise PermissionError
        return really(name, flags, mode)

    monkeypatch.setattr(os, "open", refusing)
    Path(os.fsdecode(path)).write_bytes(b"abc")
    held = really(path, os.O_RDONLY)
    assert try_lock(held)
    with pytest.raises(PermissionError):
        open_partial(Layout(), path, exclusive=False)
    assert Path(os.fsdecode(path)).read_bytes() == b"abc"
    fd = open_partial(Layout(), path, exclusive=True)
    assert os.fstat(fd).st_size == 0
    os.close(fd)
    os.close(held)
    fd = open_partial(Layout(), path, exclusive=False)
    assert os.fstat(fd).st_size == 0
    os.close(fd)
