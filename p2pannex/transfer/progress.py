"""The progress of a transfer, as `p2pannex.transfer.transfer` reports it to a progress bar."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen


@frozen
class Transferred:
    """How far a transfer has come. All numbers are bytes of the content, counted from its beginning.

    offset: how many bytes the receiving side had already, from an earlier transfer, when this one started.
    total: the size of the content, or None if it is not known yet.
    count: how many bytes the receiving side has now. After a lost connection this can be less than reported before.
    """

    offset: int
    total: int | None
    count: int


Progress = Callable[[Transferred], None]
"""Called when a transfer starts, after each block, and when the transfer continues after a lost connection.

It is called in the task that moves the bytes, so it must return quickly.
"""


class Reporter:
    """Converts the counts of the pump to `Transferred`."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._offset: int | None = None
        self._total: int | None = None
        self._count = 0

    def begin(self, count: int, total: int | None) -> None:
        if self._offset is None:
            self._offset = count
        self._count = count
        self._total = total
        self.moved(0)

    def moved(self, count: int) -> None:
        self._count += count
        if self._progress is not None:
            assert self._offset is not None, "begin comes first"
            self._progress(Transferred(self._offset, self._total, self._count))
