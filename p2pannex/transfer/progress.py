"""How far a transfer of content has come, as `p2pannex.transfer.transfer` tells it: what a progress bar needs."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen


@frozen
class Transferred:
    """How far a transfer has come; all numbers are bytes of the content, counted from its beginning.

    offset: what an earlier transfer had left, when this one began.
    total: of the whole content, or None where nobody has told yet.
    count: what the receiving side has now. It can fall, where a connection was lost and not all had arrived.
    """

    offset: int
    total: int | None
    count: int


Progress = Callable[[Transferred], None]
"""Called when a transfer begins, after each block, and when it goes on after a lost connection.

It is called in the task that moves the bytes: it must return soon.
"""


class Reporter:
    """Turns the pump's counts into `Transferred`."""

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
