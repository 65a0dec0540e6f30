"""How many bytes of content the nodes of a gateway directory hold, for nodes that can be counted.

The protocol has no request for it. Only a node that is a directory of this machine can be counted, by reading all its
directories; so only such nodes may have a maximum size. All processes that serve the cluster share the counts::

    DIR/sizes.json      {"UUID": {"bytes": 123456, "counted": 1789000000.5, "took": 0.2}}

A count expires after a minute, or after twenty times as long as counting took, whichever is longer. What this process
has sent to a node since the count is added to it. What other processes send and remove in that time is not included.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Protocol

import attrs
import trio

from p2pannex.errors import RemoteError
from p2pannex.stores.files.inventory import Contents
from p2pannex.system.disk_errors import disk_errors
from p2pannex.system.durability import replace_file
from p2pannex.system.file_locks import sole_writer

FILE = b"sizes.json"

RECOUNT = 60.0
"""Seconds after which a count expires, at the earliest."""

SHARE = 20
"""A count does not expire before this many times as long as counting took."""


class Countable(Protocol):
    """A store in a directory of this machine."""

    def contents(self) -> Contents: ...


@attrs.frozen
class Count:
    """How many `bytes` a node held, when it was `counted` in POSIX seconds, and how many seconds counting `took`."""

    bytes: int
    counted: float
    took: float

    @property
    def fresh(self) -> bool:
        return 0 <= time.time() - self.counted < max(RECOUNT, SHARE * self.took)


class NodeSizes:
    """The counts of a gateway directory."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(os.fsencode(directory), FILE)
        self._counting = trio.Lock()
        self._sent: dict[str, list[tuple[float, int]]] = {}

    async def of(self, uuids: Collection[str], stores: Mapping[str, Countable]) -> dict[str, int]:
        """How many bytes each repository holds. `stores` are those that can be reached, by UUID. A repository that was
        never counted is counted now. RemoteError if it cannot be reached."""
        counts = self._read()
        for uuid in uuids:
            if uuid not in counts:
                if uuid not in stores:
                    raise RemoteError(f"repository {uuid} cannot be reached, and how much it holds was never counted")
                await self.count({uuid: stores[uuid]})
                counts = self._read()
        return {uuid: counts[uuid].bytes + self._since(uuid, counts[uuid].counted) for uuid in uuids}

    def add_pending(self, uuid: str, size: int) -> None:
        """Record that `size` bytes are being sent to a repository."""
        self._sent.setdefault(uuid, []).append((time.time(), size))

    async def count(self, stores: Mapping[str, Countable]) -> None:
        """Count the repositories that have no count, or an expired one."""
        async with self._counting:
            for uuid, store in stores.items():
                known = self._read().get(uuid)
                if known is None or not known.fresh:
                    with disk_errors("cannot count what a node holds"):
                        await trio.to_thread.run_sync(self._count, uuid, store)

    def _count(self, uuid: str, store: Countable) -> None:
        began, started = time.time(), time.perf_counter()
        count = Count(store.contents().bytes, began, time.perf_counter() - started)
        with sole_writer(self._path):
            counts = {**self._read(), uuid: count}
            replace_file(self._path, json.dumps({uuid: attrs.asdict(each) for uuid, each in counts.items()}).encode())

    def _since(self, uuid: str, moment: float) -> int:
        later = [(time, size) for time, size in self._sent.get(uuid, []) if time >= moment]
        self._sent[uuid] = later
        return sum(size for _, size in later)

    def _read(self) -> dict[str, Count]:
        with suppress(OSError, ValueError, TypeError, AttributeError), open(self._path, "rb") as file:
            return {uuid: Count(**count) for uuid, count in json.load(file).items()}
        return {}


__all__ = ["Count", "Countable", "NodeSizes"]
