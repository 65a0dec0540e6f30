"""What a special remote program writes to its standard error: kept for as long as it may be worth quoting.

It goes to an unlinked temporary file, so that a talkative program never waits for somebody to read it.
"""

from __future__ import annotations

import fcntl
import os
import tempfile

from p2pannex.stores.external.messages import text

TAIL = 500
"""Bytes of the last words that an error quotes at most."""

KEPT = 1 << 20
"""Bytes above which what was said before is forgotten."""


class LastWords:
    """The file, to be given to a program as its standard error, and to be closed."""

    def __init__(self) -> None:
        with tempfile.TemporaryFile(buffering=0) as file:
            self._fd = os.dup(file.fileno())
        # It appends, so that cutting the file does not confuse it.
        fcntl.fcntl(self._fd, fcntl.F_SETFL, fcntl.fcntl(self._fd, fcntl.F_GETFL) | os.O_APPEND)

    def fileno(self) -> int:
        return self._fd

    def forget(self) -> None:
        """Keep what a talkative program leaves on disk bounded. To be called now and then."""
        if self._fd >= 0 and os.fstat(self._fd).st_size > KEPT:
            os.ftruncate(self._fd, 0)

    def tail(self) -> str:
        """The last lines, as one, for people."""
        if self._fd < 0:
            return ""
        size = os.fstat(self._fd).st_size
        lines = (line.strip() for line in os.pread(self._fd, TAIL, max(0, size - TAIL)).splitlines())
        return text(b"; ".join([line for line in lines if line]))

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
