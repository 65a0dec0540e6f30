"""Directories and files whose names and content survive a power failure."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Collection
from contextlib import suppress

from p2pannex.system.file_systems import SYSTEM, Reach
from p2pannex.system.fsync_batch import Fsyncs, run_blocking
from p2pannex.system.unsupported import is_unsupported

log = logging.getLogger(__name__)


def make_directories(path: bytes) -> set[bytes]:
    """Make the directory and its missing parents. Returns the paths of the directories that were made.

    os.makedirs would first check whether each of them exists.
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
    """Let the kernel start to write bytes to disk that were just written, so that the fsync at the end is short.

    This is only a hint: it does not wait, and errors are reported by the fsync. The hint that pages are not needed
    (POSIX_FADV_DONTNEED) makes Linux start to write dirty pages to disk. It drops only clean pages, so the new bytes
    stay in the page cache.
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):  # a file system that does not support hints
            os.posix_fadvise(fd, offset, length, os.POSIX_FADV_DONTNEED)


def replace_file(path: bytes, text: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replace a small file atomically, and durably unless `durable` is false. An OSError leaves the old one.

    `mode`: the permissions of the file, as far as the umask allows them.
    """
    new = path + b"." + secrets.token_hex(8).encode()
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(fd, "wb") as file:
            file.write(text)
            file.flush()
            if durable:
                run_blocking(file_durable(fd))
        os.rename(new, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(new)
        raise
    if durable:
        run_blocking(directory_durable(os.path.dirname(path)))


def file_durable(fd: int) -> Fsyncs[None]:
    """Make the content of a file durable: one fsync. If the file system has none, all file systems are synced."""
    try:
        yield fd
    except OSError as error:
        if not is_unsupported(error):
            raise
        os.sync()


def directory_durable(path: bytes) -> Fsyncs[None]:
    """Make the names in the directory durable: one fsync. Nothing, if the file system cannot fsync directories."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield from _fsync_directory(fd)
    finally:
        os.close(fd)


def _fsync_directory(fd: int) -> Fsyncs[None]:
    try:
        yield fd
    except OSError as error:
        if not is_unsupported(error):
            raise
        log.info("this file system cannot fsync directories (%s): a power failure may undo changes", error.strerror)


def names_durable(path: bytes, root: bytes, made: Collection[bytes] = ()) -> Fsyncs[None]:
    """Make the names in the directory `path` durable, and the names of the directories from `root` down to `path`.

    That includes directories that already existed: the process that made one may have been killed before it could
    fsync. Left out are only those fsyncs that another one makes unnecessary; `file_systems` has the argument.

    `made`: the directories that the caller has just made. The caller must keep all other tasks and processes of
    p2pannex from fsyncing them meanwhile.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield from _fsync_directory(fd)
        reach = SYSTEM.reach(fd, root)
    finally:
        os.close(fd)
    if reach is Reach.EVERYTHING_EARLIER:
        return
    while path != root:
        durable = reach is Reach.NEW_PARENTS and path in made
        path = os.path.dirname(path)
        if not durable:
            yield from directory_durable(path)
