"""Room on the disk for an upload, beyond the disk reserve.

A large upload takes the room for all that was announced before it receives it, so that other uploads, of any process,
find it taken (`system/allocation.py`). A small one, and a large one where the file system cannot do that, looks before
each write whether the disk reserve stays free.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress

from p2pannex.errors import RemoteError
from p2pannex.system.allocation import allocate, release
from p2pannex.system.disk_errors import disk_errors, disk_full, require_room

ALLOCATE = 1 << 20
"""Bytes from which the room for an upload is taken before it is received. For fewer it would take longer than the rest
of the request."""


ATTEMPTS = 5
"""How often an upload tries to take its room, if others take theirs at the same moment."""

PAUSE = 0.05
"""Seconds, at most, between two attempts."""


class Room:
    """The room for the file that is open as `fd`. `reserve`: bytes of the disk that must stay free.

    The methods raise RemoteError if there is not enough room.
    """

    def __init__(self, fd: int, reserve: int) -> None:
        self._fd = fd
        self._reserve = reserve
        self._taken = False

    def recover(self) -> None:
        """Give back room that a killed process took for this file, and did not use. The caller has the file locked."""
        status = os.fstat(self._fd)
        if status.st_blocks * 512 > status.st_size:
            with suppress(OSError):
                release(self._fd)

    def require(self, size: int) -> None:
        """Require that there is room for `size` bytes more."""
        with disk_errors("cannot store the content"):
            system = os.fstatvfs(self._fd)
        require_room(size, system, self._reserve, to="store")

    def take(self, offset: int, length: int) -> None:
        """Take the room for `length` bytes from `offset` on, if the file system can do that. It blocks.

        If several uploads take more than there is at the same moment, all of them give it back, and try again after
        random pauses: so the first one gets it.
        """
        for attempt in range(ATTEMPTS):
            self.require(length)
            try:
                self._taken = allocate(self._fd, offset, length)
                if self._taken:
                    self.require(0)
                return
            except (OSError, RemoteError) as error:
                self._give_back()
                if attempt + 1 == ATTEMPTS:
                    raise disk_full(error, length) if isinstance(error, OSError) else error from None
            except BaseException:
                self._give_back()
                raise
            time.sleep(random.uniform(0, PAUSE))  # noqa: S311 - not a secret

    def require_to_write(self, size: int) -> None:
        """Called before each write of `size` bytes. Without a reserve, the write itself reports a full disk.

        OSError if the file system does not say what is free.
        """
        if not self._taken and self._reserve:
            require_room(size, os.fstatvfs(self._fd), self._reserve, to="store")

    def close(self) -> None:
        """Give back the room that was taken, and to which nothing was written. The file is still open."""
        if self._taken:
            self._give_back()

    def _give_back(self) -> None:
        self._taken = False
        with suppress(OSError):
            release(self._fd)
