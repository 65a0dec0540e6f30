"""Remembers which nodes of a gateway failed, for all its processes and beyond their end.

``p2pannex-shell`` starts a process for each connection over ssh. Without these files, each process would have to wait
for a node's timeout again to learn that the node hangs. ::

    DIRECTORY/NAME.json     the failures of one node, by its UUID and the gateway on the route to it
    DIRECTORY/NAME.lock     locked by the process that probes the node

    {"boot": "...", "opened_with": "...", "at": 812.5, "failures": 1, "costly": true, "level": 3, "failed_at": 810.0,
     "back_at": 815.1, "healthy_since": null, "reason": "it did not reply within 30 s"}

A file is written when its node fails or replies again, and read when its node is opened. As long as all nodes are
healthy, no request reads or writes anything here.

**No file here can cause a loss of content,** whatever is in it. It can only suspend a node, so that the node gets no
request. A cluster reports success only for what nodes replied to requests: REMOVE succeeds only if every node replied
that the content is gone, LOCKCONTENT only with a node's lock, and PUT only if a node stored the content; a missing
reply of a suspended node counts as a failure of that node (`Cluster`). So a wrong file has the effect of a node that is
down. If a file is missing, its node gets requests like any other.

**No file suspends a node for long.** The times are those of CLOCK_BOOTTIME, which no change of the wall clock moves. A
file is ignored if it was written in another boot or on another machine, for a node that was opened in another way, if
its times lie in the future, if its back-off is longer than the longest one, or if the last failure is more than
`REMEMBERED` seconds ago.

Serving does not depend on these files: errors in reading and writing them are ignored. They are not fsynced, because
they do not count after a restart of the machine.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

import trio

from p2pannex.cluster.health import LONGEST_BACK_OFF, SAME_TIME, Remembered
from p2pannex.errors import RemoteError
from p2pannex.system.clock import Clock, SystemClock, read_boot_id
from p2pannex.system.durability import replace_file
from p2pannex.system.file_locks import try_lock

REMEMBERED = 600.0
"""Seconds after which a failure is forgotten, if no process found the node to fail again."""

LONGEST_REASON = 1000
"""Characters of a reason that are remembered."""

LONGEST_FILE = 1 << 16
"""Bytes that are read of a file."""


class HealthFiles:
    """The files in `directory`. `make_directory` makes it, and is called at the first failure of a node."""

    def __init__(
        self, directory: str | bytes, make_directory: Callable[[bytes], object], clock: Clock | None = None
    ) -> None:
        self.directory = os.fsencode(directory)
        self.make_directory = make_directory
        self.clock = clock or SystemClock()
        self._seen = self._stamp()

    @functools.cached_property
    def boot(self) -> str:
        """The id of this boot. It is read at the first call: not at all, as long as no node fails."""
        return read_boot_id()

    def of(self, uuid: str, *, via: Iterable[str] = (), opened_with: object = None) -> NodeMemory:
        """The memory of one node. `via`: as `Node.via`. `opened_with`: all settings that the node was opened with; if
        they change, its earlier failures do not count."""
        return NodeMemory(self, "+".join(quote(each, safe="") for each in (uuid, *sorted(via))), opened_with)

    def changed(self) -> bool:
        """Whether any file may have changed since the last call. One stat."""
        seen, self._seen = self._seen, self._stamp()
        return seen != self._seen

    def _stamp(self) -> int | None:
        try:
            return os.stat(self.directory).st_mtime_ns
        except OSError:
            return None


class NodeMemory:
    """The `Memory` of one node in a file."""

    def __init__(self, files: HealthFiles, name: str, opened_with: object) -> None:
        self._files = files
        self._path = os.path.join(files.directory, name.encode() + b".json")
        self._lock = os.path.join(files.directory, name.encode() + b".lock")
        self._opened_with = opened_with

    @property
    def _settings(self) -> str:
        """A hash, since settings may contain passwords."""
        return hashlib.sha256(repr(self._opened_with).encode()).hexdigest()[:32]

    def read(self) -> Remembered | None:
        with suppress(OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                text = os.read(fd, LONGEST_FILE)
            finally:
                os.close(fd)
            return self._remembered(json.loads(text))
        return None

    def _remembered(self, table: dict[str, Any]) -> Remembered | None:
        if table["boot"] != self._files.boot or table["opened_with"] != self._settings:
            return None
        now = self._files.clock.monotonic()
        at, failed_at = float(table["at"]), float(table["failed_at"])
        back_at, healthy_since = _time(table["back_at"]), _time(table["healthy_since"])
        if not (now - REMEMBERED <= failed_at <= at <= now + SAME_TIME and healthy_since <= now + SAME_TIME):
            return None
        if not back_at <= at + LONGEST_BACK_OFF + SAME_TIME:
            return None
        behind = now - trio.current_time()
        return Remembered(
            at - behind,
            max(0, int(table["failures"])),
            table["costly"] is True,
            max(0, int(table["level"])),
            failed_at - behind,
            back_at - behind,
            healthy_since - behind,
            str(table["reason"])[:LONGEST_REASON],
        )

    def write(self, found: Remembered) -> None:
        behind = self._files.clock.monotonic() - trio.current_time()
        table = {
            "boot": self._files.boot,
            "opened_with": self._settings,
            "at": found.at + behind,
            "failures": found.failures,
            "costly": found.costly,
            "level": found.level,
            "failed_at": found.failed_at + behind,
            "back_at": _number(found.back_at + behind),
            "healthy_since": _number(found.healthy_since + behind),
            "reason": found.reason[:LONGEST_REASON],
        }
        with suppress(OSError):
            self._files.make_directory(self._files.directory)
            replace_file(self._path, json.dumps(table).encode(), durable=False)

    @contextmanager
    def claim(self) -> Iterator[bool]:
        """As `Memory.claim`. If the file cannot be locked, every process may probe the node."""
        fd = -1
        claimed = True
        with suppress(OSError, RemoteError):
            fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            claimed = try_lock(fd)
        try:
            yield claimed
        finally:
            if fd >= 0:
                os.close(fd)


def _time(value: float | None) -> float:
    return -math.inf if value is None else float(value)


def _number(value: float) -> float | None:
    return None if math.isinf(value) else value


__all__ = ["REMEMBERED", "HealthFiles", "NodeMemory"]
