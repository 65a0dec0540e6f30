"""The one shape: `Service` is a git-annex repository as seen through the P2P protocol.

A store, a remote peer and a cluster are Services. A server is ``serve(peer, store)``, a proxy ``serve(peer, remote)``,
a gateway ``serve(peer, cluster)``; copying is a `Download` of one sent into an `Upload` of another. Nothing here
knows a line of the protocol, a file or a socket.

Every method may raise `RemoteError` (this request failed, in words for people) and `ConnectionLost`.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from attrs import frozen

from p2pannex.errors import Unsupported
from p2pannex.keys.key import Key
from p2pannex.protocol.messages import LATEST_VERSION

if TYPE_CHECKING:
    from trio.abc import HalfCloseableStream

RETENTION = 600
"""Seconds for which content stays locked, from LOCKCONTENT on, when its holder is lost (protocol-spec section 7)."""


@frozen
class Removal:
    """The outcome of `Service.remove`. `uuids`: repositories other than the service itself it is now gone from."""

    ok: bool
    uuids: frozenset[str] = frozenset()


@frozen
class AlreadyHave:
    """`Service.put` found the content present. `uuids`: other repositories that have it too."""

    uuids: frozenset[str] = frozenset()


@frozen
class Stored:
    """An upload's content is verified and durable. `uuids`: other repositories that stored it too."""

    uuids: frozenset[str] = frozenset()


@frozen
class NotStored:
    """An upload's content was not stored here. `uuids`: other repositories that did store it."""

    uuids: frozenset[str] = frozenset()


class _Closing(abc.ABC):
    """Closed at the end of an ``async with`` block. Closing twice is allowed."""

    @abc.abstractmethod
    async def aclose(self) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class DirectBody(Protocol):
    """Bytes that can be moved without passing through this process, where the other end of the move allows it.

    The body of a message of the P2P protocol is one.
    """

    async def pass_body(self, target: DirectBody, count: int) -> int | None:
        """Move the next bytes from here to `target`, at most `count`; how many were moved.

        None where these two cannot, or where one of them fails: reading and writing the bytes then tells which, and
        raises its error.
        """
        ...


class Upload(_Closing):
    """Content on its way into a service (protocol-spec section 9).

    The caller calls `begin` once with the number of bytes that will come, sends exactly those with `send_all`, then
    calls `finish`; or it calls `data_present` instead of all that. Leaving without either keeps what has arrived,
    for a later upload to resume from, and closes a remote's connection, since there is no other way to stop.
    """

    offset: int = 0
    """Where in the content, in bytes, to begin: what lies before was kept from an interrupted upload."""

    @property
    def direct(self) -> DirectBody | None:
        """Where the bytes go, if they can be moved there without passing through this process."""
        return None

    @abc.abstractmethod
    async def begin(self, length: int) -> None:
        """Announce how many bytes follow; the first of them is the content's byte number `offset`."""

    @abc.abstractmethod
    async def send_all(self, view: memoryview) -> None:
        """Take the next bytes. The view is valid during the call only."""

    @abc.abstractmethod
    async def finish(self, valid: bool) -> Stored | NotStored:
        """All bytes were sent. `valid`: the source did not change meanwhile. Stored only if they verify."""

    @abc.abstractmethod
    async def data_present(self) -> Stored | NotStored:
        """Instead of `begin`: the content reached the repository by another way. Stored if it verifies there."""


class FileRange(Protocol):
    """A download whose bytes lie in a file, so that they can be sent without passing through this process."""

    def fileno(self) -> int: ...

    @property
    def position(self) -> int:
        """The offset in the file of the download's next byte."""
        ...

    def advance(self, count: int) -> None:
        """`count` bytes were sent from the file."""
        ...


class Download(_Closing):
    """Content on its way out of a service (protocol-spec section 8).

    The caller reads exactly `length` bytes, then asks `valid`, then says with `finish` whether it liked them. Leaving
    earlier closes a remote's connection.
    """

    length: int = 0
    """How many bytes follow, from the offset asked for on."""

    @property
    def file_range(self) -> FileRange | None:
        """The bytes as a range of an open file, where they are one."""
        return None

    @property
    def direct(self) -> DirectBody | None:
        """Where the bytes come from, if they can be moved from there without passing through this process."""
        return None

    @abc.abstractmethod
    async def readinto(self, view: memoryview) -> int:
        """The next bytes, at least one, into `view`; 0 once `length` bytes were read."""

    @abc.abstractmethod
    async def valid(self) -> bool:
        """After the last byte: whether they were good. False also says that the content is not there at all."""

    async def finish(self, received: bool) -> None:
        """Tell whether all arrived. It does not say that they were kept."""


class Lock(_Closing):
    """A promise that the content will be kept until `release`, or where its holder is lost for `RETENTION` from when
    it was taken.

    Leaving the ``async with`` block in order releases it. Leaving by an exception does not: the holder may have
    removed its own copy already, so the content stays locked for its ten minutes.
    """

    @abc.abstractmethod
    async def release(self) -> None:
        """The content may be removed again."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self.release()
        finally:
            await self.aclose()


class Service(abc.ABC):
    """A git-annex repository, as the P2P protocol sees it."""

    uuid: str
    """The repository's UUID."""

    @abc.abstractmethod
    async def check_present(self, key: Key) -> bool:
        """Whether verified content of `key` is here."""

    @abc.abstractmethod
    async def lock(self, key: Key) -> Lock | None:
        """Keep the content from being removed; None where it is not here or cannot be locked."""

    @abc.abstractmethod
    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        """Remove the content, if `timestamp` has not reached `before`. Absent content counts as removed."""

    @abc.abstractmethod
    async def timestamp(self) -> int:
        """This service's own monotonic clock, in whole seconds, rounded down."""

    @abc.abstractmethod
    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        """Begin to store content. `file` is the name that the client has for it, a hint at most."""

    @abc.abstractmethod
    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        """Begin to read content. Content that is not here gives a download of no bytes that is not `valid`."""

    async def version(self) -> int:
        """The highest protocol version whose requests it can fulfil: of a remote one, what its server speaks."""
        return LATEST_VERSION

    def bypassing(self, uuids: frozenset[str]) -> Service:
        """This service, as it is for a client that came through these gateways: they are not gone through again.

        The caller closes it where it is another than this one.
        """
        return self

    @asynccontextmanager
    async def pinned(self) -> AsyncGenerator[Service, None]:
        """This service, for requests that belong together: one follows the other with no wait in between, and over the
        same connection, or not at all (ConnectionLost). One at a time; a transfer is closed before the next request."""
        yield self

    async def connect(self, program: str, stream: HalfCloseableStream) -> int:
        """Run git-upload-pack or git-receive-pack, relaying `stream`; its exit code."""
        raise Unsupported("there is no git repository here")

    def changes(self) -> AsyncGenerator[tuple[str, ...], None]:
        """The names of the objects that git refs change to, as they do; first those that they stand at.

        What changes while nobody waits comes with the next ones. A ref that is deleted is not told of.

        The caller closes the generator with ``aclose``.
        """
        raise Unsupported("there is no git repository here")

    async def aclose(self) -> None:  # noqa: B027 - a service without connections has nothing to close
        """Close what the service holds open. Closing twice is allowed."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
