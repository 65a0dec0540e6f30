"""Progress bars on standard error. They are shown only if `Output.bars` is true."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from p2pannex.cli.output import Output
from p2pannex.terminal import safe_line, shortened

if TYPE_CHECKING:
    from rich.progress import Progress

    from p2pannex.transfer.transfer import Transferred


@contextmanager
def _bars(output: Output) -> Iterator[Progress | None]:
    if not output.bars:
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress


@contextmanager
def transfer_bar(output: Output, what: str) -> Iterator[Watch]:
    """A bar for one transfer. Pass the `Watch` to `send`, `retrieve` or `copy` as `progress`."""
    with _bars(output) as progress:
        yield Watch(progress, what)


class Watch:
    """The progress callback of a transfer. `offset` and `count` are those of its last report, in bytes; 0 before it."""

    def __init__(self, progress: Progress | None, what: str) -> None:
        self.offset = 0
        self.count = 0
        self._progress = progress
        self._what = _short(what)
        self._task = None if progress is None else progress.add_task(self._what, total=None, note="", start=False)

    def __call__(self, now: Transferred) -> None:
        self.offset, self.count = now.offset, now.count
        if self._progress is None or self._task is None:
            return
        if not self._progress.tasks[0].started:
            # A new task, because bytes that were transferred earlier must not count as speed.
            self._progress.remove_task(self._task)
            note = f"resumed at {now.offset / 1e6:.1f} MB" if now.offset else ""
            self._task = self._progress.add_task(self._what, total=now.total, completed=now.count, note=note)
        self._progress.update(self._task, completed=now.count, total=now.total)


@contextmanager
def hashing_bar(output: Output, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar for hashing a file of `total` bytes. The callback takes the number of bytes read so far."""
    with _bars(output) as progress:
        if progress is None:
            yield lambda count: None
            return
        task = progress.add_task(f"hashing {_short(what)}", total=total, note="")
        yield lambda count: progress.update(task, completed=count)


def _short(what: str) -> str:
    return shortened(safe_line(what), 40)
