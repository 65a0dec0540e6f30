"""Turns an OSError of the disk into a RemoteError that tells the user of the client what to do."""

from __future__ import annotations

import errno
import os

from p2pannex.errors import RemoteError

_CAUSES = {
    errno.ENOSPC: "the disk is full; free some space and try again",
    errno.EDQUOT: "the disk quota is used up; free some space and try again",
    errno.EACCES: "permission denied; check who owns the repository's files",
    errno.EPERM: "not permitted; check who owns the repository's files",
    errno.EROFS: "the file system is read-only; if it became so by itself, its disk may be failing",
    errno.ENAMETOOLONG: "the key's file name is too long for this file system",
    errno.EFBIG: "the content is larger than a file may be here",
    errno.EIO: "the disk reports an input/output error; check the disk",
    errno.ENOENT: "a directory of the repository is missing; is its disk mounted?",
    errno.EMFILE: "too many open files; try again later",
    errno.ENFILE: "too many open files; try again later",
}


def explained(error: OSError, doing: str) -> RemoteError:
    """The error to raise for `error`. Its text is `doing`, which says what failed (``cannot ...``), and the cause."""
    cause = _CAUSES.get(error.errno or 0) or error.strerror or "unknown error"
    return RemoteError(f"{doing}: {cause}")


def disk_full(error: OSError, missing: int) -> OSError | RemoteError:
    """The error to raise while content is written. If the disk is full, it names the bytes that are not written yet."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    what = "the disk is full" if error.errno == errno.ENOSPC else "the disk quota is used up"
    return RemoteError(f"cannot store the content: {what}; free {missing} more bytes and try again")


def require_room(size: int, system: os.statvfs_result, reserve: int, *, to: str) -> None:
    """RemoteError if the file system has no space for `size` bytes while `reserve` bytes stay free.

    `to` is a verb for the error's text: what the bytes are for.
    """
    free = system.f_bavail * system.f_frsize - reserve
    if size > free:
        raise RemoteError(
            f"not enough disk space: {size} bytes to {to}, {max(free, 0)} free beyond the reserve of {reserve}; "
            "free some space and try again"
        )


class disk_errors:  # noqa: N801 - it reads as a statement: with disk_errors("cannot ..."):
    """A block in which an OSError becomes the RemoteError of `explained`."""

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise explained(error, self._doing) from error
