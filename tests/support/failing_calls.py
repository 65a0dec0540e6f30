"""Calls into the file system that fail, one after the other, to see what an operation leaves behind.

`failing_at` replaces the functions of `os` and `fcntl` that reach the files below a directory. The n-th call fails with
a given errno. A call that closes a file closes it all the same, as the kernel does.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

READING = ("stat", "lstat", "fstat", "listdir", "scandir", "read", "preadv", "lseek", "statvfs", "fstatvfs")
MAKING = ("open", "mkdir", "rename", "link", "write", "fsync")
CHANGING = ("pwrite", "unlink", "rmdir", "chmod", "fchmod", "ftruncate", "close")
FILE_LOCKS = ("flock", "fcntl")

ERRNOS = (
    errno.EXDEV,
    errno.EINVAL,
    errno.EPERM,
    errno.ENOLCK,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.ENOSPC,
    errno.EIO,
    errno.EROFS,
    errno.EDQUOT,
)
"""What a file system answers that cannot do something, has no room, or is broken."""

FULL = (errno.ENOSPC, errno.EDQUOT)


class Calls:
    """The calls that were made, and which one failed."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.failed: str | None = None


@contextlib.contextmanager
def failing_at(n: int, number: int, below: bytes, *, stays_full: bool = False) -> Iterator[Calls]:
    """Let the n-th call that reaches a file below that directory fail with the errno `number`; none if n is 0.

    stays_full: from then on, all calls that need room on the disk fail.
    """
    calls = Calls()
    turn = threading.RLock()

    def wrap(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not args or not _reaches(args[0], below, original_readlink):
                return original(*args, **kwargs)
            with turn:
                calls.made.append(name)
                fails = len(calls.made) == n or (stays_full and calls.failed is not None and name in MAKING)
                if fails and name == "open" and calls.failed is not None:
                    fails = bool(args[1] & os.O_CREAT) and not original_access(args[0], os.F_OK)
                if fails:
                    calls.failed = calls.failed or name
            if fails:
                if name == "close":
                    original(*args)
                raise OSError(number, os.strerror(number))
            return original(*args, **kwargs)

        return call

    original_readlink, original_access = os.readlink, os.access
    originals: list[tuple[Any, str, Callable[..., Any]]] = [
        (os, name, getattr(os, name)) for name in READING + MAKING + CHANGING
    ]
    originals += [(fcntl, name, getattr(fcntl, name)) for name in FILE_LOCKS]
    for module, name, original in originals:
        setattr(module, name, wrap(name, original))
    try:
        yield calls
    finally:
        for module, name, original in originals:
            setattr(module, name, original)


def _reaches(target: object, below: bytes, readlink: Callable[[str], str]) -> bool:
    if isinstance(target, int):
        try:
            path = os.fsencode(readlink(f"/proc/self/fd/{target}"))
        except OSError:
            return False
    elif isinstance(target, str | bytes | os.PathLike):
        path = os.fsencode(target)
    else:
        return False
    return path == below or path.startswith(below + b"/")
