"""The parts that a store of content in files is put together from, as `objects` knows them.

Where its files are (`Layout`), who may change a key's content (`Exclusive`), and what was promised to whom
(`RetentionRecords`): two kinds of store differ in these, and in nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from p2pannex.keys.key import Key


class Layout(Protocol):
    """Where a store keeps its files. Paths are made from a key's escaped file name only."""

    root: bytes
    """The directory in which objects lie, at some depth; it and what lies above it are never removed."""

    def places(self, key: Key) -> Iterable[bytes]:
        """The paths at which the key's object may be: first the one that a new one gets."""
        ...

    def find(self, key: Key) -> bytes:
        """The path of the key's object, or the one that a new one gets."""
        ...

    def partial(self, key: Key) -> bytes:
        """The path of the key's partial content."""
        ...

    def prepare(self, path: bytes) -> bool:
        """Make the directory of a partial, which was found missing; False where that is not for us to make."""
        ...

    def install(self, partial: bytes, path: bytes) -> Collection[bytes]:
        """Rename a partial to the path of its object, whose directories are made; the paths of those that were."""
        ...

    def protect(self, fd: int, path: bytes) -> None:
        """Give an object that was just installed, and is open as `fd`, its permissions."""
        ...

    def discard(self, path: bytes) -> None:
        """Unlink an object."""
        ...


class Exclusive(Protocol):
    """One change at a time to a key's content, and to the directories that it is in."""

    def hold(self, key: Key, timeout: float = ...) -> AbstractContextManager[None]: ...


class RetentionRecord(Protocol):
    """One promise to keep content, held by this process."""

    def release(self) -> None:
        """The holder has said that the content may be removed again."""
        ...

    def abandon(self) -> None:
        """The holder is gone: the promise stays until its time is over."""
        ...


class RetentionRecords(Protocol):
    """The records of what was promised. Both are called with the key's exclusion held."""

    def record(self, key: Key) -> RetentionRecord | None:
        """Promise to keep `key`, durably; None where somebody is removing it."""
        ...

    def removing(self, key: Key, path: bytes, timeout: float) -> AbstractContextManager[bool]:
        """Whether nobody was promised that `key`, whose object is at `path`, is kept, so that it may be removed
        inside of the block.

        Busy, if `timeout` is 0, where that could only be told by waiting.
        """
        ...
