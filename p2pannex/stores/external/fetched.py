"""What a special remote program has left where it was to fetch content to.

The program is not trusted to have left a regular file there. Nothing else is opened: opening a FIFO would block, and
opening a device may have effects. Nor is it trusted to have fetched the right bytes: all of them are verified before
the first one is given out, so that a cluster can go on with another node.
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.stores.files.hashing import hash_in_steps
from p2pannex.system.disk_errors import disk_errors

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


async def open_verified(path: bytes, key: Key, describe: str) -> int:
    """Open the file as the whole content of `key`, and return its descriptor. RemoteError if it is not that.

    `describe` is the name of the special remote in errors.
    """
    with disk_errors("cannot read the content"):
        fd = _open(path, describe)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):  # it was replaced between the look at it and opening it
                raise RemoteError(f"{describe} reported success, but left no regular file")
            if key.size is not None and key.size != status.st_size:
                raise RemoteError(f"{describe} returned damaged content: {status.st_size} bytes instead of {key.size}")
            verifier = key.verifier()
            if verifier.conclusive and not (await hash_in_steps(fd, verifier, status.st_size) and verifier.valid()):
                raise RemoteError(f"{describe} returned damaged content: its hash is not the one in the key")
        except BaseException:
            os.close(fd)
            raise
        return fd


def _open(path: bytes, describe: str) -> int:
    try:
        kind = stat.S_IFMT(os.lstat(path).st_mode)
        if kind != stat.S_IFREG:
            found = _KINDS.get(kind, "no file")
            raise RemoteError(f"{describe} reported success, but left {found} instead of the content")
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise RemoteError(f"{describe} reported success, but did not fetch the content") from None


def discard(path: bytes) -> None:
    """Remove whatever is there. A download has its file open already."""
    with suppress(FileNotFoundError):
        try:
            os.unlink(path)
        except (IsADirectoryError, PermissionError):
            shutil.rmtree(path, ignore_errors=True)
