"""`Service`: the interface of a git-annex repository, as seen through the P2P protocol.

A store, a remote repository and a cluster implement it. So a server is ``serve(peer, store)``, a proxy is
``serve(peer, remote)`` and a gateway is ``serve(peer, cluster)``. Copying sends the `Download` of one service into the
`Upload` of another. This module uses no message of the protocol, no file and no socket.

Every method may raise `RemoteError` (the request failed; its text is for people) and `ConnectionLost`.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from attrs import field, frozen

from p2pannex.errors import RemoteError, Unsupported
from p2pannex.keys.key import Key
from p2pannex.protocol.messages import LATEST_VERSION

if TYPE_CHECKING:
    from trio.abc import HalfCloseableStream

RETENTION = 600
"""Seconds that a lock lasts, counted from LOCKCONTENT, if the client that took it is lost (protocol-spec section 7)."""

VERIFY_BLOCK = 1 << 20
"""Bytes that `Service.verify` reads at a time."""

HASHING_RATE = 10_000_000
"""Bytes a second. However large the content, a peer that must hash it, or write it to disk, before it goes on is waited
for at least as long as that takes at this rate: a slow disk or processor. See `seconds_to_hash`."""


def seconds_to_hash(count: int) -> float:
    """How much longer than usual to wait for a peer that may have to hash or write `count` bytes before it goes on."""
    return count / HASHING_RATE


LOCKED = "the content is locked"
TOO_LATE = "the deadline of the removal has passed"
"""Reasons of a `Removal` that is not ok."""


class NotLocked(RemoteError):
    """The content is not locked: it is not present, or cannot be locked. A server replies FAILURE (section 7)."""


class TooManyLocks(NotLocked):
    """The store has as many locks as it may have. A server logs that: its owner can do something about it."""


@frozen
class Removal:
    """The outcome of `Service.remove`. `uuids`: other repositories that no longer have the content."""

    ok: bool
    uuids: frozenset[str] = frozenset()
    reason: str = field(default="", eq=False)
    """Why the content was not removed, as far as it is known: one line for people. The protocol does not send it."""


NO_FAILURES: Mapping[str, str] = MappingProxyType({})


@frozen
class _PutOutcome:
    """Base of the outcomes of `Service.put` and of an upload."""

    uuids: frozenset[str] = frozenset()
    failures: Mapping[str, str] = field(default=NO_FAILURES, eq=False, repr=False)
    """The nodes of a cluster that were to store the content and did not, by name, each with the reason: one line for
    people. The protocol does not send it."""


@frozen
class AlreadyHave(_PutOutcome):
    """The outcome of `Service.put` if the content is present already. `uuids`: other repositories that have it too."""


@frozen
class Stored(_PutOutcome):
    """The outcome of an upload: its content is verified and durable. `uuids`: other repositories that stored it too."""


@frozen
class NotStored(_PutOutcome):
    """The outcome of an upload: the service did not store its content. `uuids`: other repositories that did."""

    reason: str = field(default="", eq=False)
    """Why, as far as it is known: one line for people. The protocol does not send it."""


class _Closing(abc.ABC):
    """Base of what an ``async with`` block closes at its end. Closing twice is allowed."""

    @abc.abstractmethod
    async def aclose(self) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class DirectBody(Protocol):
    """A body whose bytes the kernel can move to another `DirectBody`, without passing them through this process.

    Whether that works depends on both ends. The body of a message of the P2P protocol is one.
    """

    async def pass_body(self, target: DirectBody, count: int) -> int | None:
        """Move the next bytes to `target`, at most `count`. Returns how many were moved.

        Returns None if these two cannot do it, or if one of them has failed. The caller then reads and writes the bytes
        itself; if one of the two has failed, that raises its error.
        """
        ...


class Upload(_Closing):
    """Content on its way into a service (protocol-spec section 9).

    The caller calls `begin` once with the number of bytes to come, sends exactly that many with `send_all`, then calls
    `finish`. Or it calls `data_present` instead of all three. If the caller closes the upload before that, the service
    keeps the bytes that have arrived, and a later upload resumes from there. Closing early also closes the connection
    of a remote service: the protocol has no other way to stop an upload.
    """

    offset: int = 0
    """The byte of the content to start from. The service has kept the bytes before it from an interrupted upload."""

    @property
    def direct(self) -> DirectBody | None:
        """The target of `DirectBody.pass_body`, or None if this upload has none."""
        return None

    @abc.abstractmethod
    async def begin(self, length: int) -> None:
        """Announce how many bytes follow; the first of them is the content's byte number `offset`."""

    @abc.abstractmethod
    async def send_all(self, view: memoryview) -> None:
        """Accept the next bytes. The view is valid only during the call."""

    @abc.abstractmethod
    async def finish(self, valid: bool) -> Stored | NotStored:
        """To be called after the last byte. `valid` is false if the source changed while it was sent.

        Returns Stored only if the service has verified the content.
        """

    @abc.abstractmethod
    async def data_present(self) -> Stored | NotStored:
        """To be called instead of `begin`, if the content reached the repository by another way.

        Returns Stored only if the service has verified the content.
        """


class FileRange(Protocol):
    """The part of an open file that a download sends. The kernel can send it without this process reading it."""

    def fileno(self) -> int: ...

    @property
    def position(self) -> int:
        """The offset, in the file, of the download's next byte."""
        ...

    def advance(self, count: int) -> None:
        """Record that `count` bytes were sent from the file."""
        ...


class Download(_Closing):
    """Content on its way out of a service (protocol-spec section 8).

    The caller reads exactly `length` bytes, then calls `valid`, then reports with `finish` whether it received the
    content. Closing earlier also closes the connection of a remote service.
    """

    length: int = 0
    """How many bytes follow, from the requested offset on."""

    @property
    def file_range(self) -> FileRange | None:
        """The bytes as a range of an open file, or None if they are not in one."""
        return None

    @property
    def direct(self) -> DirectBody | None:
        """The source of `DirectBody.pass_body`, or None if this download has none."""
        return None

    @abc.abstractmethod
    async def readinto(self, view: memoryview) -> int:
        """Read the next bytes into `view`. Returns how many, at least one; 0 after `length` bytes."""

    @abc.abstractmethod
    async def valid(self) -> bool:
        """To be called after the last byte: whether the bytes were good.

        If the content is not present at all, the download has no bytes, and this is false.
        """

    async def finish(self, received: bool) -> None:
        """Report whether all bytes arrived. That does not state whether the receiver kept them."""


class Lock(_Closing):
    """A lock on content (protocol-spec section 7): the service keeps the content until `release` is called.

    If the client that took the lock is lost, the lock expires when `RETENTION` has passed since it was taken.

    Leaving the ``async with`` block normally releases the lock. Leaving it by an exception does not: the client may
    have removed its own copy already, so the content stays locked until the lock expires.
    """

    @abc.abstractmethod
    async def release(self) -> None:
        """Unlock the content: it may be removed again."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self.release()
        finally:
            await self.aclose()


class Service(abc.ABC):
    """A git-annex repository, as seen through the P2P protocol."""

    uuid: str
    """The repository's UUID."""

    @abc.abstractmethod
    async def check_present(self, key: Key) -> bool:
        """Whether the service has verified content of `key`."""

    @abc.abstractmethod
    async def lock(self, key: Key) -> Lock:
        """Protect the content from removal. NotLocked if it is not present or cannot be locked.

        So a caller that has a `Lock` has locked content: ``async with await service.lock(key):`` is safe as it stands.
        """

    @abc.abstractmethod
    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        """Remove the content, if `timestamp` has not reached `before`. Absent content counts as removed."""

    @abc.abstractmethod
    async def timestamp(self) -> int:
        """This service's own monotonic clock, in whole seconds, rounded down (protocol-spec section 6.1)."""

    @abc.abstractmethod
    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        """Start to store content. `file` is the client's name for it, and only a hint."""

    @abc.abstractmethod
    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        """Start to read content, from byte `offset` on. `file` is the client's name for it, and only a hint.

        If the content is not present, the download has no bytes and is not `valid`.
        """

    async def verify(self, key: Key) -> bool:
        """Whether all of the content matches its key. It is read for that; False if it is not present.

        A store reads it where it is, and moves a wrong copy out of the way. From another service the content is
        fetched; if it is wrong, the service is sent FAILURE, and may then verify its copy. RemoteError if the key's
        digest cannot be computed here.
        """
        if (missing := key.missing_hash) is not None:
            raise RemoteError(missing)
        verifier = key.verifier()
        async with await self.get(key) as download:
            block = memoryview(bytearray(min(download.length, VERIFY_BLOCK)))
            left = download.length
            while left:
                count = await download.readinto(block[:left])
                if not count:
                    raise RemoteError("the content ended before the announced length")
                verifier.update(block[:count])
                left -= count
            good = await download.valid() and verifier.valid()
            await download.finish(good)
            return good

    async def version(self) -> int:
        """The highest protocol version whose requests this service can fulfil. For a remote one, that of its server."""
        return LATEST_VERSION

    def bypassing(self, uuids: frozenset[str]) -> Service:
        """This service for a client that came through the gateways `uuids`: requests do not go through them again.

        If the result is not this object itself, the caller closes it.
        """
        return self

    @asynccontextmanager
    async def pinned(self) -> AsyncGenerator[Service, None]:
        """This service for several requests that belong together: they all use the same connection.

        A request does not wait for a free connection after the first one. Once a request was answered, a lost
        connection is not replaced: the next request raises ConnectionLost. So a request may rest on the answer to an
        earlier one, for example a removal on the service's clock. Make one request at a time, and close a transfer
        before the next one.
        """
        yield self

    async def connect(self, program: str, stream: HalfCloseableStream) -> int:
        """Run git-upload-pack or git-receive-pack with `stream` as its input and output (protocol-spec section 10).

        Returns the program's exit code.
        """
        raise Unsupported("there is no git repository here")

    def changes(self) -> AsyncGenerator[tuple[str, ...], None]:
        """Follow the git refs (protocol-spec section 10): yields the names of the objects that they point to.

        First come the objects of all refs as they are now, then those of refs that change. Changes that happen while
        the caller does not wait for the next item are yielded later. Deleted refs are not reported.

        The caller closes the generator with ``aclose``.
        """
        raise Unsupported("there is no git repository here")

    async def aclose(self) -> None:  # noqa: B027 - a service without connections has nothing to close
        """Close the service's connections and files. Closing twice is allowed."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
