"""A special remote in a directory, and the ways to get it into trouble."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from p2pannex.stores.external.spool import Spool
from p2pannex.stores.external.store import ExternalStore
from p2pannex.system.clock import SystemClock
from tests.support.special_remotes import PLAIN
from tests.support.waiting import until

UUID = "0c0c0c0c-1111-2222-3333-444444444444"


class Remote:
    """A special remote in a directory, and the ways to get it into trouble."""

    def __init__(self, path: Path, *words: str) -> None:
        self.path = path
        self.words = words
        self.heard: list[str] = []
        self.clock = Clock()
        (path / "trouble").mkdir(parents=True)

    def open(self, spool: Spool | None = None, timeout: float = 60, **config: str) -> ExternalStore:
        return ExternalStore(
            UUID,
            [sys.executable, "-I", "-S", str(PLAIN), *self.words],
            {"directory": str(self.path / "cloud"), **config},
            spool or self.path / "spool",
            self.path / "state",
            name="cloud",
            timeout=timeout,
            transfer_timeout=timeout,
            environment={**os.environ, "TROUBLE": str(self.path / "trouble")},
            inform=self.heard.append,
            clock=self.clock,
        )

    def trouble(self, verb: str, how: str, *, always: bool = False) -> None:
        (self.path / "trouble" / verb).write_text(f"{how} {'always' if always else 'once'}")

    async def has_begun(self, verb: str) -> None:
        """Wait until the program has begun the request that gets into trouble once."""
        await until(lambda: not (self.path / "trouble" / verb).exists())

    @property
    def prepared(self) -> int:
        """How many programs were started."""
        return len((self.path / "prepared").read_text())

    @property
    def spooled(self) -> list[Path]:
        return [path for path in (self.path / "spool").rglob("*") if path.is_file()]


class Clock(SystemClock):
    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead
