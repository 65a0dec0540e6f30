"""What the processes that serve a gateway directory are doing: each process keeps a small status file.

::

    DIR/status/PID.RANDOM.json      {"pid": 4711, "since": 1789000000, "transfers": {"attic": 2}}

A process keeps its file locked while it lives. A file that is not locked was left by a process that was killed. The PID
in it does not show that, since another process may have it by now. Serving does not depend on these files, so errors in
writing them are ignored.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress

import attrs

from p2pannex.system.file_locks import try_lock

DIRECTORY = "status"


@attrs.frozen
class Serving:
    """A process that serves the cluster. `since` is in POSIX seconds; `transfers` are by the nodes' names."""

    pid: int
    since: int
    transfers: Mapping[str, int]


class StatusFile:
    """This process's file. `write` makes it when it is first called."""

    def __init__(self, directory: str) -> None:
        self._directory = os.path.join(directory, DIRECTORY)
        self._path = os.path.join(self._directory, f"{os.getpid()}.{secrets.token_hex(4)}.json")
        self._since = int(time.time())
        self._fd = -1
        self._written: dict[str, int] | None = None

    def write(self, transfers: Mapping[str, int]) -> None:
        """Write the status file if it changed."""
        if transfers == self._written:
            return
        text = json.dumps({"pid": os.getpid(), "since": self._since, "transfers": dict(transfers)})
        with suppress(OSError):
            if self._fd < 0:
                self._open()
            # The rest of a longer, older text stays after the line feed; readers stop there.
            os.pwrite(self._fd, text.encode() + b"\n", 0)
            self._written = dict(transfers)

    def _open(self) -> None:
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        new = f"{self._path}.new"
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try_lock(fd)
            os.rename(new, self._path)  # locked before other processes can see it
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def close(self) -> None:
        """Remove the file: this process no longer serves the cluster."""
        if self._fd >= 0:
            with suppress(OSError):
                os.unlink(self._path)
            os.close(self._fd)
            self._fd = -1


def serving(directory: str) -> list[Serving]:
    """The processes that serve a gateway directory, including this one. Files of dead processes are removed."""
    found: list[Serving] = []
    try:
        names = sorted(os.listdir(os.path.join(directory, DIRECTORY)))
    except OSError:
        return found
    for name in names:
        if name.endswith(".json"):
            with suppress(OSError, ValueError, KeyError, TypeError):
                process = _read(os.path.join(directory, DIRECTORY, name))
                if process is not None:
                    found.append(process)
    return found


def _read(path: str) -> Serving | None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if try_lock(fd, shared=True):
            os.unlink(path)
            return None
        status = json.loads(os.read(fd, 1 << 20).partition(b"\n")[0])
    finally:
        os.close(fd)
    transfers = {str(name): int(count) for name, count in status["transfers"].items()}
    return Serving(int(status["pid"]), int(status["since"]), transfers)


__all__ = ["Serving", "StatusFile", "serving"]
