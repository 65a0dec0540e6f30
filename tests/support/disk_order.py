"""In which order files are fsynced and renamed, to see what a power failure at any moment would leave."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class DiskOrder:
    """The events, in their order: ``("fsync", path)`` and ``("rename", target)``."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self._sources: dict[int, str] = {}

    def note(self, kind: str, path: str, source: str = "") -> None:
        if source:
            self._sources[len(self.events)] = source
        self.events.append((kind, path))

    def renamed(self, path: Path | str) -> int:
        """The number of the event that renamed a file to that path, for the last time."""
        return max(n for n, event in enumerate(self.events) if event == ("rename", str(path)))

    def fsynced(self, path: Path | str) -> list[int]:
        """The numbers of the events that fsynced the file or directory."""
        return [n for n, event in enumerate(self.events) if event == ("fsync", str(path))]

    def check_durable(self, path: Path | str) -> None:
        """The file that was renamed to that path was fsynced before, and its directory afterwards."""
        renamed = self.renamed(path)
        assert self._sources[renamed] != str(path), f"{path} was written in place"
        assert any(n < renamed for n in self.fsynced(self._sources[renamed])), f"{path} was renamed before its fsync"
        assert any(n > renamed for n in self.fsynced(Path(path).parent)), f"the name {path} is not durable"


@contextmanager
def disk_order() -> Iterator[DiskOrder]:
    """Note the fsyncs and renames of the block."""
    order = DiskOrder()
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(fd: int) -> None:
        order.note("fsync", os.readlink(f"/proc/self/fd/{fd}"))
        real_fsync(fd)

    def rename(source: bytes, target: bytes) -> None:
        order.note("rename", os.fsdecode(target), os.fsdecode(source))
        real_rename(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        patch.setattr(os, "rename", rename)
        yield order
