"""The standard error of a special remote program, kept so that error messages can quote its end.

The program writes to an unlinked temporary file. So it never blocks, as it would on a full pipe.
"""

from __future__ import annotations

import fcntl
import os
import tempfile

from p2pannex.stores.external.messages import text

TAIL = 500
"""Bytes that an error message quotes at most."""

FILE_MAX = 1 << 20
"""Bytes from which on the file is emptied."""


class StderrFile:
    """The file. The caller passes it to a program as its standard error, and closes it at the end."""

    def __init__(self) -> None:
        with tempfile.TemporaryFile(buffering=0) as file:
            self._fd = os.dup(file.fileno())
        # The program must append, so that it writes at the right offset after the file was truncated.
        fcntl.fcntl(self._fd, fcntl.F_SETFL, fcntl.fcntl(self._fd, fcntl.F_GETFL) | os.O_APPEND)

    def fileno(self) -> int:
        return self._fd

    def limit(self) -> None:
        """Empty the file if it is larger than FILE_MAX. To be called now and then, to bound its size."""
        if self._fd >= 0 and os.fstat(self._fd).st_size > FILE_MAX:
            os.ftruncate(self._fd, 0)

    def tail(self) -> str:
        """The last lines, joined into one, for messages."""
        if self._fd < 0:
            return ""
        size = os.fstat(self._fd).st_size
        lines = (line.strip() for line in os.pread(self._fd, TAIL, max(0, size - TAIL)).splitlines())
        return text(b"; ".join([line for line in lines if line]))

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
