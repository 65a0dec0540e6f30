"""The interfaces of the parts that an `ObjectStore` is made of. The kinds of store differ mainly in these:

- `Layout`: where the files are.
- `Exclusive`: the lock that allows one change at a time to a key's content.
- `RetentionRecords`: the records of locks, which say until when content must be kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from p2pannex.keys.key import Key
from p2pannex.system.file_locks import Locks


class Layout(Protocol):
    """Where a store keeps its files. Paths are made only from a key's escaped file name and its hash directories."""

    root: bytes
    """The directory below which the objects are. It and its parents are never removed."""

    @property
    def has_permissions(self) -> bool:
        """Whether objects are read-only files here. If not, that one is writable does not mean that it was changed."""
        ...

    @property
    def locks(self) -> Locks:
        """How the files are locked."""
        ...

    def places(self, key: Key) -> Iterable[bytes]:
        """The paths at which the key's object may be. The first is that of a new object."""
        ...

    def find(self, key: Key) -> bytes:
        """The path of the key's object if there is one, otherwise that of a new object."""
        ...

    def partial(self, key: Key) -> bytes:
        """The path of the file with the key's partial content, called a partial here."""
        ...

    def prepare(self, path: bytes) -> bool:
        """Make the missing directory of a partial. False if it is not made when it is missing."""
        ...

    def share(self, path: bytes) -> None:
        """Give a new file the permissions with which those who share the store can use it."""
        ...

    def install(self, partial: bytes, path: bytes) -> Collection[bytes]:
        """Rename a partial to the path of its object. Returns the paths of the directories that were made for it."""
        ...

    def protect(self, fd: int, path: bytes) -> None:
        """Set the permissions of an object that was just installed, and is open as `fd`."""
        ...

    def verified_mode(self, mode: int) -> int:
        """The permissions to give an object that was just verified, and has the permissions `mode` and one link."""
        ...

    @property
    def removes_quickly(self) -> bool:
        """Whether a removal runs no commands of the repository's owner, which may take any time."""
        ...

    def removable(self, path: bytes) -> AbstractContextManager[None]:
        """A block in which `discard` may be called. What may take long comes before the block begins."""
        ...

    def discard(self, path: bytes) -> None:
        """Unlink an object."""
        ...

    def quarantine(self, key: Key, path: bytes) -> bytes:
        """Move an object whose content is wrong to ``annex/bad/``. Returns its new path."""
        ...


class Exclusive(Protocol):
    """The lock, for each key, that allows one change at a time to its content and the directories of that."""

    def hold(self, key: Key, timeout: float = ...) -> AbstractContextManager[None]: ...


class RetentionRecord(Protocol):
    """The record of one lock, which a client of this process holds."""

    def release(self) -> None:
        """Remove the record: the client has unlocked the content."""
        ...

    def abandon(self) -> None:
        """Leave the record until it expires: the client is lost."""
        ...


class RetentionRecords(Protocol):
    """All retention records of a store. The caller of `record` and `removing` holds the key's exclusion."""

    def sweep(self) -> object:
        """Remove some records that have expired, of any keys. The caller holds no exclusion. It does not raise."""
        ...

    def record(self, key: Key) -> RetentionRecord | None:
        """Make a durable record of a new lock on `key`. None if another program is removing the content."""
        ...

    def removing(self, key: Key, path: bytes, timeout: float) -> AbstractContextManager[bool]:
        """A block for the removal of `key`, whose object is at `path`. It yields whether the content may be removed.

        It must not be removed while a lock on it is valid. No new lock can be recorded during the block. Busy if
        `timeout` is 0 and the answer requires waiting.
        """
        ...
