"""Making directories, and making what is in them survive a power failure."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection
from contextlib import suppress

from p2pannex.system.file_systems import SYSTEM, Reach
from p2pannex.system.fsync_batch import Fsyncs, run_blocking


def make_directories(path: bytes) -> set[bytes]:
    """Make the directory, and those above it, as far as they are missing; the paths of those that were.

    What os.makedirs does, without asking about each of them first.
    """
    try:
        os.mkdir(path)
    except FileExistsError:
        return set()
    except FileNotFoundError:
        made = make_directories(os.path.dirname(path))
        try:
            os.mkdir(path)
        except FileExistsError:
            return made
        return made | {path}
    return {path}


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
    run_blocking(directory_durable(os.path.dirname(path)))


def directory_durable(path: bytes) -> Fsyncs[None]:
    """Make the names in the directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def names_durable(path: bytes, root: bytes, made: Collection[bytes] = ()) -> Fsyncs[None]:
    """Make the names in `path`, and the directories from `root` down to it, durable.

    All of them each time: whoever made one may have been killed before it could. `made` are those of them that the
    caller has made just now, and that nobody else of us fsyncs meanwhile. What one fsync makes durable of the
    directories above is left out: `file_systems` has the argument.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
        reach = SYSTEM.reach(fd, root)
    finally:
        os.close(fd)
    if reach is Reach.EVERYTHING_EARLIER:
        return
    while path != root:
        known = reach is Reach.NEW_PARENTS and path in made
        path = os.path.dirname(path)
        if not known:
            yield from directory_durable(path)
