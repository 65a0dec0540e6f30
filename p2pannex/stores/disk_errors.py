"""What the disk refuses, said so that the person at the far end knows what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from p2pannex.protocol.errors import RemoteError

_CAUSES = {
    errno.ENOSPC: "the disk is full; make room and try again",
    errno.EDQUOT: "the disk quota is used up; make room and try again",
    errno.EACCES: "permission denied; check who owns the repository's files",
    errno.EPERM: "not permitted; check who owns the repository's files",
    errno.EROFS: "the file system is read-only; mount it read-write and try again",
    errno.ENAMETOOLONG: "the key's file name is too long for this file system",
    errno.EFBIG: "the content is larger than a file may be here",
    errno.EIO: "the disk reports an input/output error; check the disk",
    errno.ENOENT: "a directory of the repository is missing; is its disk mounted?",
    errno.EMFILE: "too many open files; try again later",
    errno.ENFILE: "too many open files; try again later",
}


def explained(error: OSError, doing: str) -> RemoteError:
    """The error to raise for `error`: what was being done, and why it failed."""
    cause = _CAUSES.get(error.errno or 0) or error.strerror or "unknown error"
    return RemoteError(f"{doing}: {cause}")


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn any OSError into the one to raise for it."""
    try:
        yield
    except OSError as error:
        raise explained(error, doing) from error
