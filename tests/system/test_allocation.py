"""Room that is taken before it is written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from p2pannex.system.allocation import allocate, release


def test_the_file_keeps_its_size_and_has_the_room(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    fd = os.open(path, os.O_RDWR)
    try:
        if not allocate(fd, 10, 1 << 22):
            pytest.skip("this file system cannot take room")
        assert os.fstat(fd).st_size == 10
        assert os.fstat(fd).st_blocks * 512 >= 1 << 22
        os.pwrite(fd, b"y" * 5, 10)
        release(fd)
        assert os.fstat(fd).st_blocks * 512 < 1 << 20
        assert path.read_bytes() == b"x" * 10 + b"y" * 5
    finally:
        os.close(fd)


def test_nothing_is_nothing(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    assert not allocate(fd, 0, 0)
    os.close(fd)


def test_a_file_that_cannot_have_room(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDONLY | os.O_CREAT)
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            allocate(fd, 0, 100)
    finally:
        os.close(fd)
    reading, writing = os.pipe()
    try:
        with pytest.raises(OSError, match=os.strerror(errno.ESPIPE)):
            allocate(writing, 0, 100)
    finally:
        os.close(reading)
        os.close(writing)
