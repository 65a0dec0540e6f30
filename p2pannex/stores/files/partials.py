"""Partials: the files with content that has not arrived completely. How they are opened, and who may write to one."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import Protocol

from p2pannex.keys.key import Key
from p2pannex.system.file_locks import Locks, unlink_own

ATTEMPTS = 10
"""How often a partial is opened or made, while other uploads make and remove it."""


class PartialLayout(Protocol):
    """Where partials are."""

    @property
    def locks(self) -> Locks: ...

    def partial(self, key: Key) -> bytes: ...

    def prepare(self, path: bytes) -> bool: ...

    def share(self, path: bytes) -> None: ...


class Claim(Protocol):
    """The right to receive a key's content, which only one program at a time has.

    `exclusive` is true if no other upload can have the partial open, so that it needs no lock of its own.
    """

    @property
    def exclusive(self) -> bool: ...

    def release(self) -> None: ...


class NoClaim:
    """The claim of a store whose content only uploads receive. The lock on the partial is enough for them."""

    exclusive = False

    def release(self) -> None:
        pass


def open_partial(layout: PartialLayout, path: bytes, *, exclusive: bool) -> int:
    """Open or make a partial. One that another user has left, and that this one may not write to, is replaced, if no
    upload has it locked: those who share a store can then all continue. OSError if that is not possible.

    `exclusive` is that of the `Claim`.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    replaced = False
    for _ in range(ATTEMPTS):
        with suppress(FileExistsError):
            fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                layout.share(path)
            except BaseException:
                os.close(fd)
                raise
            return fd
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            continue  # another upload has just ended
        except PermissionError:
            if replaced:
                raise
            replaced = True
            if exclusive:
                os.unlink(path)
                continue
            left = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if not layout.locks.try_lock(left):
                    raise
                unlink_own(left, path)  # unless it is another upload's by now
            finally:
                layout.locks.close(left)
    raise OSError(errno.EAGAIN, "others make and remove the partial file all the time")


__all__ = ["Claim", "NoClaim", "PartialLayout", "open_partial"]
