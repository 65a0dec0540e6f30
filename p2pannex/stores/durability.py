"""Making directories, and making what is in them survive a power failure."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress


def make_directories(path: bytes) -> None:
    """Make the directory, and those above it, as far as they are missing.

    What os.makedirs does, without asking about each of them first.
    """
    try:
        os.mkdir(path)
    except FileExistsError:
        pass
    except FileNotFoundError:
        make_directories(os.path.dirname(path))
        with suppress(FileExistsError):
            os.mkdir(path)


def start_writing_back(fd: int, offset: int, length: int) -> None:
    """Set the disk to work on bytes that were just written, so that the fsync at the end waits for the last of them.

    A hint and no more: it waits for nothing, and errors come out of fsync. Linux writes dirty pages back that are said
    not to be needed, and forgets only clean ones; so what was written stays in the page cache.
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):  # a file system that takes no hints
            os.posix_fadvise(fd, offset, length, os.POSIX_FADV_DONTNEED)


def replace_file(path: bytes, text: bytes) -> None:
    """Give a small file new content, whole and durable; nobody else may read it. OSError leaves the old."""
    new = path + b"." + secrets.token_hex(8).encode()
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        os.rename(new, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(new)
        raise
    fsync_directory(os.path.dirname(path))


def fsync_directory(path: bytes) -> None:
    """Make the names in the directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_up(path: bytes, root: bytes) -> None:
    """Make the names in `path`, and the directories from `root` down to it, durable.

    All of them each time: whoever made one may have been killed before it could. Clean ones cost microseconds.
    """
    fsync_directory(path)
    while path != root:
        path = os.path.dirname(path)
        fsync_directory(path)
