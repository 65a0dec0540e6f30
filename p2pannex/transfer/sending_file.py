"""A `SendingFile`: the file that a transfer sends. It detects whether the file changed meanwhile.

Errors are OSError, with the file name that the user gave.
"""

from __future__ import annotations

import errno
import os
import stat

from p2pannex.transfer.errors import WrongContent
from p2pannex.transfer.file_work import Path, work
from p2pannex.transports.pump import SMALL_BODY


class SendingFile:
    """A file whose content is sent. `size` is its size in bytes when it was opened. The caller closes it."""

    def __init__(self, path: Path) -> None:
        """Open the file. OSError if that fails, or if it is not a regular file."""
        self.path = os.fsencode(path)
        self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # opening a FIFO must not block
        self._status = os.fstat(self._fd)
        if not stat.S_ISREG(self._status.st_mode):
            os.close(self._fd)
            raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(self.path))
        self.size = self._status.st_size
        self.position = 0

    async def readinto(self, view: memoryview) -> int:
        """Read the bytes at `position` into `view`. Returns how many, at least one.

        WrongContent if the file has become shorter since it was opened.
        """
        count = await work(self._read, view, self.path, in_thread=len(view) >= SMALL_BODY)
        if not count and len(view):
            raise WrongContent(f"{os.fsdecode(self.path)} became shorter while it was sent; send it again")
        self.position += count
        return count

    def _read(self, view: memoryview) -> int:
        return os.preadv(self._fd, [view], self.position)

    def unchanged(self) -> bool:
        """Whether the path still names the same file, with the same size and modification time."""
        try:
            now = os.stat(self.path)
        except OSError:
            return False
        before = self._status
        return os.path.samestat(now, before) and (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
